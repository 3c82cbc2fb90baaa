"""The Adaptive Graph U-Net of HOPE-Net, one net or N of them computed as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from handgraph.nn.conv import AdaptiveGraphConv, Normalization, normalize_adjacency
from handgraph.nn.linear import BranchLinear
from handgraph.nn.pool import NodeMap, NodePool
from handgraph.nn.unet_gate import FinestLevel
from handgraph.nn.unet_maps import DecoderMap, EncoderMap, UNetMaps
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
        self.register_buffer("node_mask", _node_mask(graph), persistent=False)
        self.is_ragged = not bool(self.node_mask.all())
        self.nodes = _check_ladder(graph, self.node_mask.shape[1], nodes)
        self.normalization: Normalization = normalization
        self._build(channels, bottleneck_channels)
        self.reset_parameters()

    def _build(self, channels: int, bottleneck_channels: int) -> None:
        branches, levels = len(self.node_mask), len(self.nodes) - 1
        widths = [channels * 2**level for level in range(levels)]
        everyone = torch.ones(branches, max(self.nodes), dtype=torch.bool)
        masks = [self.node_mask, *(everyone[:, :n] for n in self.nodes[1:])]

        def conv(in_channels: int, out_channels: int) -> AdaptiveGraphConv:
            return AdaptiveGraphConv(
                in_channels, out_channels, normalization=self.normalization, num_branches=branches
            )

        ins, outs = [self.in_channels, *widths], [self.out_channels, *widths]
        sizes = list(enumerate(pairwise(self.nodes)))
        self.adjacency = nn.ParameterList(torch.empty(branches, n, n) for n in self.nodes[:-1])
        self.encoder = nn.ModuleList(conv(ins[i], widths[i]) for i in range(levels))
        self.pools = nn.ModuleList(NodePool(n, m, node_mask=masks[i]) for i, (n, m) in sizes)
        self.squeeze = BranchLinear(widths[-1], bottleneck_channels, branches)
        self.expand = BranchLinear(bottleneck_channels, widths[-1], branches)
        self.unpools = nn.ModuleList(NodePool(m, n, node_mask=masks[i + 1]) for i, (n, m) in sizes)
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
        maps = self._adjacencies()
        return maps if isinstance(self.graph, RemovalSets) else [a.squeeze(0) for a in maps]

    def _finest(self) -> Tensor:
        """The learned adjacency of the finest level, without its padding."""
        finest: Tensor = self.adjacency[0]
        if not self.is_ragged:
            return finest
        both = self.node_mask.unsqueeze(1) & self.node_mask.unsqueeze(2)
        return finest.where(both, 0)

    def _adjacencies(self) -> list[Tensor]:
        coarser = [self.adjacency[level] for level in range(1, len(self.adjacency))]
        return [normalize_adjacency(a, self.normalization) for a in (self._finest(), *coarser)]

    def maps(self) -> UNetMaps:
        """Multiply neighbouring linear maps together: all that :meth:`forward` computes with."""
        laplacians = self._adjacencies()
        pools = [pool.node_map() for pool in cast("list[NodePool]", self.pools)]
        unpools = [pool.node_map() for pool in cast("list[NodePool]", self.unpools)]
        down = [conv.lin for conv in cast("list[AdaptiveGraphConv]", self.encoder)]
        up = [conv.lin for conv in cast("list[AdaptiveGraphConv]", self.decoder)]
        encoder = [_encoder_map(down[0], laplacians[0], None)]
        for lin, laplacian, pool in zip(down[1:], laplacians[1:], pools[:-1], strict=True):
            encoder.append(_encoder_map(lin, laplacian @ pool.matrix, laplacian @ pool.bias))
        decoder = map(_decoder_map, up, laplacians, unpools)
        return UNetMaps(
            tuple(encoder),
            _encoder_map(self.squeeze, *pools[-1]),
            self.expand.weight.mT,
            self.expand.bias.unsqueeze(1),
            tuple(decoder),
        )

    def _finest_level(self) -> FinestLevel:
        down, up = (cast("AdaptiveGraphConv", c[0]).lin for c in (self.encoder, self.decoder))
        unpool = cast("NodePool", self.unpools[0]).node_map()
        skip, deep = up.weight.mT.chunk(2, dim=1)
        return FinestLevel(
            self._finest(),
            down.weight.mT,
            down.bias.unsqueeze(1),
            unpool.matrix,
            unpool.bias,
            skip,
            deep,
            up.bias[:, None, None],
        )

    def _gated_maps(self, gate: Tensor) -> UNetMaps:
        """The maps for samples that each hide nodes of their own. gate: ``[N, J, B]``."""
        finest = self._finest_level()
        return finest.gate(self.maps(), gate, self.normalization, self.renormalize)

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
        lead = x.shape[: -3 if branched else -2]
        x = x.reshape(math.prod(lead), *self.node_mask.shape, self.in_channels)
        gate = None if node_mask is None else self._gate(node_mask, x)
        there = (self.node_mask if gate is None else gate != 0).unsqueeze(-1)
        is_full = gate is None and not self.is_ragged
        x = x if is_full else x.where(there, 0)
        maps = self.maps() if gate is None else self._gated_maps(gate.permute(1, 2, 0))
        out = maps(x.permute(1, 2, 0, 3).contiguous()).permute(2, 0, 1, 3)
        out = out if is_full else out.where(there, 0)
        shape = self.node_mask.shape if branched else self.node_mask.shape[1:]
        return out.reshape(*lead, *shape, self.out_channels)

    def _gate(self, node_mask: Tensor, x: Tensor) -> Tensor:
        """What each node of x ``[B, N, J, C]`` sends; padding sends nothing."""
        gate = node_mask.reshape(x.shape[:-1]).to(x.dtype)
        return gate.where(self.node_mask, 0) if self.is_ragged else gate

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
        return torch.ones(1, graph.num_joints, dtype=torch.bool)
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


def _encoder_map(lin: BranchLinear, nodes: Tensor, node_bias: Tensor | None) -> EncoderMap:
    return EncoderMap(nodes, node_bias, lin.weight.mT, lin.bias.unsqueeze(1))


def _decoder_map(lin: BranchLinear, laplacian: Tensor, unpool: NodeMap) -> DecoderMap:
    """Split the weights of the concatenation [skip, unpooled], and fold the unpooling's bias."""
    skip, deep = lin.weight.mT.chunk(2, dim=1)
    bias = (laplacian @ unpool.bias) * deep.sum(dim=1, keepdim=True) + lin.bias.unsqueeze(1)
    return DecoderMap(laplacian, laplacian @ unpool.matrix, skip, deep, bias.unsqueeze(2))
