"""The Adaptive Graph U-Net of HOPE-Net, as one net or as N batched nets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from handgraph._check import check_whole
from handgraph.nn import engines
from handgraph.nn.adjacency import Normalization, normalize_adjacency
from handgraph.nn.branched import BranchedNet, nodes_of
from handgraph.nn.conv import AdaptiveGraphConv
from handgraph.nn.gates import Gating, finest, gate_plan
from handgraph.nn.ladder import check_ladder
from handgraph.nn.linear import BranchLinear
from handgraph.nn.mixing import samples_last
from handgraph.nn.plan import Graph, Plan, Stage, Term
from handgraph.nn.pool import NodePool
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets


class AdaptiveGraphUNet(BranchedNet):
    r"""A U-Net over joints with a learned adjacency at each level.

    In the encoder, level l convolves over its adjacency and halves the nodes by a linear map. In
    the decoder, it doubles the nodes and convolves them, concatenated with the skip connection,
    over the same adjacency. With :math:`L_l` from :func:`normalize_adjacency`, :math:`P_l, U_l`
    from :class:`NodePool` and two ReLU layers as bottleneck:

    .. math::
        E_l &= \mathrm{ReLU}(L_l P_{l-1}(E_{l-1}) W_l + b_l) \\
        D_l &= \mathrm{ReLU}(L_l [E_l, U_l(D_{l+1})] V_l + c_l)

    without the ReLU on the output. The paper uses this net (Doosti et al., HOPE-Net, CVPR 2020) in
    each branch and as its ensemble network. Over :class:`~handgraph.RemovalSets` this module is N
    nets, one per branch, computed in batched products. They share no parameters. The adjacencies
    are initialised to the identity, so the edges of the skeleton are not used. Permuting the joints
    permutes the output only if the parameters over the nodes are permuted, too.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        graph: A skeleton, or removal sets for one branch per set.
        channels: Width of the finest level; it doubles with each level.
        nodes: Node counts of the levels; by default they halve to 1. The first is that of the
            skeleton, or of the longest branch.
        bottleneck_channels: Width of the bottleneck.
        normalization: ``"abs"``, or ``"signed"`` as published.
        renormalize: For samples with hidden nodes: whether degrees are summed over the visible
            nodes, as in a net built without the hidden ones, or over all nodes.

    Shapes:
        - input: ``[*, J, in_channels]``, or ``[*, N, K, in_channels]``
        - node_mask: Bool or floating, the input's shape without the channels
        - output: ``[*, J, out_channels]``, or ``[*, N, K, out_channels]``; padding is 0

    Raises:
        ValueError: If the sizes are not positive, or ``nodes``, the input or the mask do not fit
            the graph.
        TypeError: If the graph is neither a skeleton nor removal sets, or the mask holds integers.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets, Skeleton
        >>> from handgraph.nn import AdaptiveGraphUNet
        >>> branches = AdaptiveGraphUNet(2, 3, RemovalSets.by_level(HAND))
        >>> branches(torch.rand(8, 4, 16, 2)).shape
        torch.Size([8, 4, 16, 3])
        >>> published = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(29), nodes=(29, 15, 7, 4, 2, 1))
        >>> sum(p.numel() for p in published.parameters())  # 13,401 with one unused
        13400
    """

    reads: ClassVar[tuple[type[nn.Module], ...]] = (AdaptiveGraphConv, BranchLinear, NodePool)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        graph: Skeleton | RemovalSets,
        *,
        channels: int = 4,
        nodes: Sequence[int] | None = None,
        bottleneck_channels: int = 20,
        normalization: Normalization = "abs",
        renormalize: bool = True,
    ):
        super().__init__(in_channels, out_channels, graph)
        check_whole(channels=channels, bottleneck_channels=bottleneck_channels)
        self.nodes = check_ladder(nodes, self.graph_name, self.node_mask.shape[1])
        self.normalization: Normalization = normalization
        self.renormalize = renormalize
        self._build(channels, bottleneck_channels)
        self.reset_parameters()

    def _build(self, channels: int, bottleneck_channels: int) -> None:
        branches, levels = len(self.node_mask), len(self.nodes) - 1
        widths = [channels * 2**level for level in range(levels)]
        everyone = torch.ones(branches, max(self.nodes), dtype=torch.bool, device="cpu")
        masks = [nodes_of(self.graph), *(everyone[:, :n] for n in self.nodes[1:])]

        def conv(in_channels: int, out_channels: int) -> AdaptiveGraphConv:
            return AdaptiveGraphConv(
                in_channels,
                out_channels,
                normalization=self.normalization,
                num_branches=branches,
                renormalize=self.renormalize,
            )

        ins, outs = [self.in_channels, *widths], [self.out_channels, *widths]
        steps = list(enumerate(pairwise(self.nodes)))
        self.adjacency = nn.ParameterList(torch.empty(branches, n, n) for n in self.nodes[:-1])
        self.encoder = nn.ModuleList(conv(ins[i], widths[i]) for i in range(levels))
        self.pools = nn.ModuleList(NodePool(n, m, node_mask=masks[i]) for i, (n, m) in steps)
        self.squeeze = BranchLinear(widths[-1], bottleneck_channels, branches)
        self.expand = BranchLinear(bottleneck_channels, widths[-1], branches)
        self.unpools = nn.ModuleList(NodePool(m, n, node_mask=masks[i + 1]) for i, (n, m) in steps)
        self.decoder = nn.ModuleList(conv(2 * widths[i], outs[i]) for i in range(levels))

    def reset_parameters(self) -> None:
        """Reset the adjacencies to the identity, and all other parameters."""
        for child in self.modules():
            if isinstance(child, BranchLinear | NodePool):
                child.reset_parameters()
        with torch.no_grad():
            for adjacency in self.adjacency:
                adjacency.copy_(torch.eye(adjacency.shape[-1]))

    def adjacencies(self) -> list[Tensor]:
        """Return the normalised adjacencies of the convolutions, finest level first.

        Returns:
            One tensor per level, ``[J_l, J_l]``, or ``[N, K_l, K_l]`` for branches.
        """
        maps = [normalize_adjacency(graph, self.normalization) for graph in self._graphs()]
        return maps if isinstance(self.graph, RemovalSets) else [a.squeeze(0) for a in maps]

    def forward(self, x: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Compute every node's output from the visible nodes of its branch.

        Args:
            x: Input of every node.
            node_mask: The visible nodes of each sample. A node with ``False`` or 0 has exactly no
                influence on other nodes, and its own output is 0. A gate between 0 and 1 scales the
                features that a node sends, in the convolutions and in the skip connection.
        """
        x, gate, visible = self.enter(x, node_mask)
        if engines.may_run(self, x):
            return self.leave(engines.run(self.lower(gate), x), visible)
        graphs, gates = self._graphs(), [gate, *[None] * len(self.nodes)]
        skips: list[Tensor] = []
        for level, (conv, pool) in enumerate(zip(self.encoder, self.pools, strict=True)):
            x = conv(x, graphs[level], gates[level]).relu()
            skips.append(x if level > 0 or gate is None else x * gate.unsqueeze(-1))
            x = pool(skips[level])
        x = self.expand(self.squeeze(x).relu()).relu()
        for level in reversed(range(len(skips))):
            x = torch.cat([skips[level], self.unpools[level](x)], dim=-1)
            x = self.decoder[level](x, graphs[level], gates[level])
            x = x.relu() if level > 0 else x
        return self.leave(x, visible)

    def lower(self, gate: Tensor | None = None) -> Plan:
        """Return the plan of :meth:`forward`.

        Args:
            gate: Factor of the output of each node of each sample. ``[*, N, K]``
        """
        adjacencies, (encoder, decoder) = self._graphs(), self._convs()
        graphs = [
            Graph(a, conv.normalization) for a, conv in zip(adjacencies, encoder, strict=True)
        ]
        stages: list[Stage] = []
        skips: list[int] = []
        for graph, conv, pool in zip(graphs, encoder, self.pools, strict=True):
            lin, node_map = conv.lin, cast("NodePool", pool).node_map()
            stages.append(Stage((Term(len(stages), graph, lin.weight),), lin.bias))
            skips.append(len(stages))
            stages.append(Stage((Term(len(stages), node_map),), relu=False))
        for lin in (self.squeeze, self.expand):
            stages.append(Stage((Term(len(stages), None, lin.weight),), lin.bias))
        for level, (graph, conv, unpool) in reversed(
            list(enumerate(zip(graphs, decoder, self.unpools, strict=True)))
        ):
            lin, node_map = conv.lin, cast("NodePool", unpool).node_map()
            if conv.normalization != graph.normalization:
                graph = Graph(graph.adjacency, conv.normalization)
            skip, deep = lin.weight.chunk(2, dim=2)
            terms = (Term(skips[level], None, skip), Term(len(stages), node_map, deep))
            stages.append(Stage(terms, relu=False))
            bias = self._padded_bias(lin.bias) if level == 0 else lin.bias
            stages.append(Stage((Term(len(stages), graph),), bias, relu=level > 0))
        return tuple(stages) if gate is None else self._gated(tuple(stages), gate)

    def _convs(self) -> list[list[AdaptiveGraphConv]]:
        return [cast("list[AdaptiveGraphConv]", list(c)) for c in (self.encoder, self.decoder)]

    def _padded_bias(self, bias: Tensor) -> Tensor:
        """Return the output bias, with zeros at padding."""
        visible = self.node_mask.unsqueeze(-1)
        return bias.unsqueeze(1).where(visible, 0) if self.is_ragged else bias

    def _gated(self, plan: Plan, gate: Tensor) -> Plan:
        return gate_plan(plan[1:-2], finest(plan), samples_last(gate, 2), self.gating)

    @property
    def gating(self) -> tuple[Gating, Gating]:
        """How the first and the last convolution sum degrees if nodes are hidden."""
        ends = [convs[0] for convs in self._convs()]
        first, last = (Gating(conv.normalization, conv.renormalize) for conv in ends)
        return first, last

    def _graphs(self) -> list[Tensor]:
        """Return the learned adjacencies, the finest with zeros at padding."""
        first, *others = self.adjacency
        if self.is_ragged:
            both = self.node_mask.unsqueeze(1) & self.node_mask.unsqueeze(2)
            first = first.where(both, 0)
        return [first, *others]

    def __repr__(self) -> str:
        """Return the sizes and graph."""
        return (
            f"AdaptiveGraphUNet({self.in_channels}, {self.out_channels}, {self.graph_name}, "
            f"nodes={self.nodes})"
        )
