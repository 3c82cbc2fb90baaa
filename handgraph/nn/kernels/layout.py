"""Where each number of a table comes from: the indices with which a net's table is made.

All parameters of a graph U-Net stand in one vector. Behind them stands what :func:`merge_nodes`
makes of them: for each level a matrix ``[J, W]`` of its normalised adjacency, and beside it that
times the poolings around it. All are filled up to one size. An entry of the table is a sum of
products of one of all these and a parameter: of one for a matrix, and of a few for a bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.kernels.kept import kept
from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.sizes import Sizes
from handgraph.nn.kernels.terms import Terms
from handgraph.nn.unet_maps import Bottleneck, Level, level_steps, split_steps

ONE, NONE = -1, -2
"""In the place of a factor: 1, and that there is no such term."""


class Layout(NamedTuple):
    """All indices for one net.

    Args:
        num_parameters: How many there are.
        nodes: Which parameters :func:`merge_nodes` takes, ``[N * L, J, W]``; -1 for padding.
        table: What the entries of the table ``[N, T]`` are sums of: of products of a parameter, and
            a parameter, a merged entry or 1.
        back: The same for the gradients of parameters and merged entries, from that of the table.
    """

    num_parameters: int
    nodes: Tensor
    table: Terms
    back: Terms


class _Builder:
    """Positions of everything, and the list of what the table is made of."""

    def __init__(self, net: Sizes):
        shapes = [shape for shapes in net.shapes() for shape in shapes]
        ends = list(accumulate(map(prod, shapes)))
        starts = [end - prod(shape) for end, shape in zip(ends, shapes, strict=True)]
        found = [start + _count(shape) for start, shape in zip(starts, shapes, strict=True)]
        size = len(Level._fields)
        self.levels = [Level(*found[i : i + size]) for i in range(0, len(found) - 4, size)]
        self.bottleneck = Bottleneck(*found[-4:])
        self.num_parameters = ends[-1]

        steps = [level_steps(self.levels, i) for i in range(len(self.levels))]
        _, count, width = net.merged_shape
        adjacencies = _join([level.adjacency for level in self.levels], count, count)
        self.nodes = torch.cat([adjacencies, _join(steps, count, width - count)], dim=2)
        merged = self.num_parameters + _count(self.nodes.shape)
        by_level = merged.unflatten(0, (net.branches, -1)).unbind(1)
        self.laplacian = [m[:, :n, :n] for m, n in zip(by_level, net.nodes, strict=False)]
        self.product = [
            m[:, : step.shape[1], count : count + step.shape[2]]
            for m, step in zip(by_level, steps, strict=True)
        ]
        self.num_entries = 0
        self.stages: list[list[Tensor]] = []
        self.terms: list[Tensor] = []

    def walk(self) -> None:
        """List what :func:`dense_stages` would give, in its order."""
        for i, level in enumerate(self.levels):
            pool = split_steps(self.product[i], level.unpool.shape[2])[2:]
            nodes, *bias = pool if i > 0 else (self.laplacian[i],)
            self.down(nodes, bias[0] if bias else None, level.down, level.down_bias)
        last, bottleneck = self.levels[-1], self.bottleneck
        self.down(last.pool, last.pool_bias, bottleneck.squeeze, bottleneck.squeeze_bias)
        branches, count, _ = last.pool.shape
        same = torch.full((count, count), NONE).fill_diagonal_(ONE).expand(branches, -1, -1)
        self.down(same, None, bottleneck.expand, bottleneck.expand_bias)
        for level, product, laplacian in zip(
            reversed(self.levels), reversed(self.product), reversed(self.laplacian), strict=True
        ):
            unpool, unpool_bias = split_steps(product, level.unpool.shape[2])[:2]
            skip, deep = level.up.chunk(2, dim=2)
            maps = [self.matrix(laplacian, skip), self.matrix(unpool, deep)]
            self.stages.append(
                [*maps, self.bias(unpool_bias, deep, level.up_bias, len(product[0]))]
            )

    def down(self, nodes: Tensor, node_bias: Tensor | None, channels: Tensor, bias: Tensor) -> None:
        """A stage down."""
        found = self.bias(node_bias, channels, bias, nodes.shape[1])
        self.stages.append([self.matrix(nodes, channels), found])

    def matrix(self, nodes: Tensor, channels: Tensor) -> Tensor:
        """The product of ``[N, J', J]`` over the nodes and ``[N, C', C]`` over the channels."""
        nodes, channels = nodes.mT[:, :, None, :, None], channels.mT[:, None, :, None, :]
        shape = torch.broadcast_shapes(nodes.shape, channels.shape)
        return self.add(self.claim(shape), nodes, channels).flatten(3).flatten(1, 2)

    def bias(self, node_bias: Tensor | None, channels: Tensor, bias: Tensor, nodes: int) -> Tensor:
        """``[N, C]`` and, for each of the nodes, ``[N, J, 1]`` times the sums of ``[N, C, C']``."""
        entries = self.claim((len(bias), nodes, bias.shape[1]))
        self.add(entries, torch.tensor(ONE), bias.unsqueeze(1))
        if node_bias is not None:
            self.add(entries.unsqueeze(3), node_bias.unsqueeze(3), channels.unsqueeze(1))
        return entries.flatten(1).unsqueeze(1)

    def claim(self, shape: Sequence[int]) -> Tensor:
        """Numbers for new entries."""
        entries = self.num_entries + _count(shape)
        self.num_entries += entries.numel()
        return entries

    def add(self, entries: Tensor, nodes: Tensor, channels: Tensor) -> Tensor:
        """Add products to some entries: of a factor over the nodes and one over the channels."""
        found = torch.stack(torch.broadcast_tensors(entries, nodes, channels)).flatten(1)
        self.terms.append(found[:, found[1] != NONE])
        return entries

    def packed(self, plan: Plan) -> Tensor:
        """All terms: a place in the table, and the two factors. ``[3, *]``."""
        order = plan.pack(self.stages, fill=self.num_entries).flatten()
        place = torch.empty(self.num_entries + 1, dtype=torch.long)
        place[order] = torch.arange(len(order))
        entries, nodes, channels = torch.cat(self.terms, dim=1)
        return torch.stack([place[entries], nodes, channels])


def _count(shape: Sequence[int]) -> Tensor:
    return torch.arange(prod(shape)).view(*shape)


def _join(matrices: Sequence[Tensor], rows: int, columns: int) -> Tensor:
    """Stack the matrices of all levels, filled up to one size: ``[N * L, *, *]``."""
    whole = [pad(m, (0, columns - m.shape[2], 0, rows - m.shape[1]), value=-1) for m in matrices]
    return torch.stack(whole, dim=1).flatten(0, 1)


@kept
def layout(net: Sizes, device: torch.device) -> Layout:
    """Find the indices for a net, on a device."""
    built = _Builder(net)
    built.walk()
    place, nodes, channels = built.packed(net.plan)
    table = Terms.of(place, channels, nodes, net.branches * net.plan.table_size)
    factors, others = torch.cat([channels, nodes]), torch.cat([nodes, channels])
    there = factors != ONE
    size = built.num_parameters + built.nodes.numel()
    back = Terms.of(factors[there], place.repeat(2)[there], others[there], size)
    merging = built.nodes.to(device, torch.int32)
    return Layout(built.num_parameters, merging, table.to(device), back.to(device))
