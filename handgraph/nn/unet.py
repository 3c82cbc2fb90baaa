"""The Adaptive Graph U-Net of HOPE-Net, one net or N of them computed as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from handgraph.nn.constants import register_constants
from handgraph.nn.conv import AdaptiveGraphConv, Normalization
from handgraph.nn.cpu.ops import compiled_maps, run_compiled
from handgraph.nn.kernels.dispatch import takes, takes_compiled
from handgraph.nn.kernels.ops import chain
from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.sizes import Sizes
from handgraph.nn.kernels.table import net_table
from handgraph.nn.linear import BranchLinear
from handgraph.nn.mixing import is_plain, samples_first, samples_last
from handgraph.nn.pool import NodePool
from handgraph.nn.unet_gate import gate_level
from handgraph.nn.unet_maps import Bottleneck, DecoderMap, Level, UNetMaps, merge_maps
from handgraph.nn.unet_step import run_net
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets


def halving_ladder(num_nodes: int) -> tuple[int, ...]:
    """Node counts of the levels of a graph U-Net: halve, rounding up, to 1 (decision 10).

    Example:
        >>> from handgraph.nn import halving_ladder
        >>> halving_ladder(21)
        (21, 11, 6, 3, 2, 1)
    """
    nodes = [num_nodes]
    while nodes[-1] > 1 or len(nodes) < 2:
        nodes.append((nodes[-1] + 1) // 2)
    return tuple(nodes)


class AdaptiveGraphUNet(nn.Module):
    r"""A U-Net over joints whose graph is learned: one free adjacency per level.

    Going down, level l convolves over its learned adjacency and halves the nodes by a linear map;
    going up, it doubles them and convolves, over the same adjacency, what came from below beside
    the skip. With :math:`L_l` from :func:`normalize_adjacency`, :math:`P_l, U_l` from
    :class:`NodePool` and two ReLU layers as bottleneck:

    .. math::
        E_l &= \mathrm{ReLU}(L_l P_{l-1}(E_{l-1}) W_l + b_l) \\
        D_l &= \mathrm{ReLU}(L_l [E_l, U_l(D_{l+1})] V_l + c_l)

    without the ReLU on the last. The paper runs this net (Doosti et al., HOPE-Net, CVPR 2020) in
    each branch and as its ensemble network. Over :class:`~handgraph.RemovalSets` this module is
    its N branches: nothing is shared but the products, and branch n equals a net of its own.
    The adjacency starts as the identity, so the edges of the skeleton play no part, and permuting
    the joints permutes the output only if the parameters over the nodes are permuted too.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        graph: A skeleton, or removal sets: then there is one branch for each set.
        channels: Width of the finest level; it doubles with each level.
        nodes: Node counts of the levels; by default they halve to 1. The first is that of the
            skeleton, or of the longest branch.
        bottleneck_channels: Width of the bottleneck.
        normalization: ``"abs"``, or ``"signed"`` as published.
        renormalize: Where a sample hides nodes: whether degrees are summed over the nodes that it
            has, as for a net that was built without the others, or over all of them.

    Shapes:
        - input: ``[*, J, in_channels]``, or ``[*, N, K, in_channels]``
        - node_mask: Bool or floating, the input's shape without the channels
        - output: ``[*, J, out_channels]``, or ``[*, N, K, out_channels]``; padding gives 0

    Raises:
        ValueError: If the sizes are not positive, ``nodes`` does not fit the graph, or input or
            mask do not have the shape of the graph.
        TypeError: If the graph is neither a skeleton nor removal sets, or the mask holds integers.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets, Skeleton
        >>> from handgraph.nn import AdaptiveGraphUNet
        >>> branches = AdaptiveGraphUNet(2, 3, RemovalSets.by_level(HAND))
        >>> branches(torch.rand(8, 4, 16, 2)).shape
        torch.Size([8, 4, 16, 3])
        >>> published = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(29), nodes=(29, 15, 7, 4, 2, 1))
        >>> sum(p.numel() for p in published.parameters())  # 13,401 less one it never used
        13400
    """

    node_mask: Tensor

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
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.graph = graph
        self.renormalize = renormalize
        node_mask = _node_mask(graph)
        register_constants(self, node_mask=node_mask)
        self.is_ragged = not bool(node_mask.all())
        self.nodes = _check_ladder(graph, node_mask.shape[1], nodes)
        self.normalization: Normalization = normalization
        self._build(node_mask, channels, bottleneck_channels)
        self.reset_parameters()

    def _build(self, node_mask: Tensor, channels: int, bottleneck_channels: int) -> None:
        branches, levels = len(node_mask), len(self.nodes) - 1
        widths = [channels * 2**level for level in range(levels)]
        everyone = torch.ones(branches, max(self.nodes), dtype=torch.bool, device="cpu")
        masks = [node_mask, *(everyone[:, :n] for n in self.nodes[1:])]

        def conv(in_channels: int, out_channels: int) -> AdaptiveGraphConv:
            return AdaptiveGraphConv(
                in_channels, out_channels, normalization=self.normalization, num_branches=branches
            )

        ins, outs = [self.in_channels, *widths], [self.out_channels, *widths]
        sizes = Sizes(branches, ins[0], outs[0], bottleneck_channels, self.nodes, tuple(widths))
        self.sizes, self.plan = sizes, sizes.plan if sizes.is_small() else None
        steps = list(enumerate(pairwise(self.nodes)))
        self.adjacency = nn.ParameterList(torch.empty(branches, n, n) for n in self.nodes[:-1])
        self.encoder = nn.ModuleList(conv(ins[i], widths[i]) for i in range(levels))
        self.pools = nn.ModuleList(NodePool(n, m, node_mask=masks[i]) for i, (n, m) in steps)
        self.squeeze = BranchLinear(widths[-1], bottleneck_channels, branches)
        self.expand = BranchLinear(bottleneck_channels, widths[-1], branches)
        self.unpools = nn.ModuleList(NodePool(m, n, node_mask=masks[i + 1]) for i, (n, m) in steps)
        self.decoder = nn.ModuleList(conv(2 * widths[i], outs[i]) for i in range(levels))

    def reset_parameters(self) -> None:
        """Set the adjacencies to the identity and draw everything else anew."""
        for child in self.modules():
            if isinstance(child, BranchLinear | NodePool):
                child.reset_parameters()
        with torch.no_grad():
            for adjacency in self.adjacency:
                adjacency.copy_(torch.eye(adjacency.shape[-1]))

    def adjacencies(self) -> list[Tensor]:
        """The normalised adjacencies as the convolutions use them, finest level first.

        Returns:
            One tensor per level, ``[J_l, J_l]``, or ``[N, K_l, K_l]`` for branches.
        """
        maps = [cast("DecoderMap", stage).skip_nodes for stage in self.maps().decoder]
        return maps if isinstance(self.graph, RemovalSets) else [a.squeeze(0) for a in maps]

    def maps(self) -> UNetMaps:
        """Multiply neighbouring linear maps together: all that :meth:`forward` computes with."""
        return merge_maps(self._levels(), self._bottleneck(), self.normalization)

    def _gated_maps(self, gate: Tensor) -> UNetMaps:
        """The maps for samples that each hide nodes of their own. gate: ``[N, J, B]``."""
        levels = self._levels()
        finest = gate_level(levels[0], gate, self.normalization, self.renormalize)
        return merge_maps(levels, self._bottleneck(), self.normalization, finest)

    def _levels(self) -> list[Level]:
        """The parameters, without those of padding."""
        encoder, decoder = (
            [conv.lin for conv in cast("list[AdaptiveGraphConv]", convs)]
            for convs in (self.encoder, self.decoder)
        )
        pools, unpools = (
            [pool.node_map() for pool in cast("list[NodePool]", pools)]
            for pools in (self.pools, self.unpools)
        )
        layers = zip(self._entries(), encoder, decoder, pools, unpools, strict=True)
        return [
            Level(adjacency, down.weight, down.bias, up.weight, up.bias, *pool, *unpool)
            for adjacency, down, up, pool, unpool in layers
        ]

    def _entries(self) -> list[Tensor]:
        """The learned adjacencies, the finest without its padding."""
        finest, *coarser = self.adjacency
        if self.is_ragged:
            both = self.node_mask.unsqueeze(1) & self.node_mask.unsqueeze(2)
            finest = finest.where(both, 0)
        return [finest, *coarser]

    def _bottleneck(self) -> Bottleneck:
        squeeze, expand = self.squeeze, self.expand
        return Bottleneck(squeeze.weight, squeeze.bias, expand.weight, expand.bias)

    def forward(self, x: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Estimate every node's output from all nodes of its branch that the sample has.

        Args:
            x: Input of every node.
            node_mask: What each sample has. A node that is ``False`` or 0 neither sends nor
                receives: it has no influence on the others, exactly, and its own output is 0. A
                gate between 0 and 1 weakens what a node sends, on every way that it takes.
        """
        branched = isinstance(self.graph, RemovalSets)
        self._check_input(x, node_mask, branched)
        if node_mask is None and self.plan is not None and takes(x):
            return self._run_kernel(x, self.plan)
        lead = x.shape[: -3 if branched else -2]
        nodes = samples_last(x if branched else x.unsqueeze(-3), 3)
        gate = None if node_mask is None else self._gate(node_mask, math.prod(lead), x.dtype)
        there = None
        if gate is not None or self.is_ragged:
            there = self.node_mask[..., None, None] if gate is None else gate.unsqueeze(2) != 0
            nodes = nodes.where(there, 0)
        out = self._run(nodes.contiguous(), gate)
        out = samples_first(out if there is None else out.where(there, 0), lead)
        return out if branched else out.squeeze(-3)

    def _run_kernel(self, x: Tensor, plan: Plan) -> Tensor:
        """Map what comes to what goes out."""
        there = self.node_mask.unsqueeze(-1)
        nodes = x.where(there, 0) if self.is_ragged else x
        nodes = nodes.reshape(-1, len(self.node_mask), plan.in_width)
        out = chain(nodes, self._table(), plan)
        out = out.reshape(*x.shape[:-1], self.out_channels)
        return out.where(there, 0) if self.is_ragged else out

    def _table(self) -> Tensor:
        """The merged maps, multiplied out for the kernel."""
        return net_table(self._levels(), self._bottleneck(), self.normalization)

    def _run(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Map ``[N, J, C, B]`` to ``[N, J, C', B]``."""
        if gate is not None:
            return self._gated_maps(gate)(x)
        if takes_compiled(x):
            return self._run_compiled(x)
        if torch.is_grad_enabled() and is_plain(x):
            return run_net(x, self._levels(), self._bottleneck(), self.normalization)
        return self.maps()(x)

    def _run_compiled(self, x: Tensor) -> Tensor:
        maps = compiled_maps(self._levels(), self._bottleneck(), self.normalization)
        return run_compiled(x, maps, self.sizes, self.nodes[0])

    def _gate(self, node_mask: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
        """What each node sends, ``[N, J, B]``; padding sends nothing."""
        gate = node_mask.reshape(batch, *self.node_mask.shape).permute(1, 2, 0).to(dtype)
        return gate.where(self.node_mask.unsqueeze(-1), 0) if self.is_ragged else gate

    def _check_input(self, x: Tensor, node_mask: Tensor | None, branched: bool) -> None:
        shape = (*self.node_mask.shape[0 if branched else 1 :], self.in_channels)
        if x.shape[-len(shape) :] != shape:
            raise ValueError(
                f"AdaptiveGraphUNet over {_name(self.graph)}: expected "
                f"[*, {', '.join(map(str, shape))}], got {list(x.shape)}"
            )
        if node_mask is None:
            return
        if node_mask.shape != x.shape[:-1]:
            raise ValueError(
                f"AdaptiveGraphUNet over {_name(self.graph)}: expected node_mask "
                f"{list(x.shape[:-1])} for an input {list(x.shape)}, got {list(node_mask.shape)}"
            )
        if node_mask.dtype != torch.bool and not node_mask.is_floating_point():
            raise TypeError(f"node_mask: expected Bool or floating, got {node_mask.dtype}")

    def __repr__(self) -> str:
        """Sizes and graph."""
        return (
            f"AdaptiveGraphUNet({self.in_channels}, {self.out_channels}, {_name(self.graph)}, "
            f"nodes={self.nodes})"
        )


def _node_mask(graph: Skeleton | RemovalSets) -> Tensor:
    if isinstance(graph, RemovalSets):
        return graph.node_mask
    if isinstance(graph, Skeleton):
        return torch.ones(1, graph.num_joints, dtype=torch.bool, device="cpu")
    raise TypeError(f"graph: expected a Skeleton or RemovalSets, got {type(graph).__name__}")


def _name(graph: Skeleton | RemovalSets) -> str:
    return graph.name if isinstance(graph, Skeleton) else repr(graph)


def _check_ladder(
    graph: Skeleton | RemovalSets, num_nodes: int, nodes: Sequence[int] | None
) -> tuple[int, ...]:
    ladder = halving_ladder(num_nodes) if nodes is None else tuple(nodes)
    if len(ladder) < 2 or min(ladder) < 1 or ladder[0] != num_nodes:
        raise ValueError(
            f"nodes: expected two or more positive node counts of which the first is the "
            f"{num_nodes} of {_name(graph)}, got {ladder}"
        )
    return ladder
