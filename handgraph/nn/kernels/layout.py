"""Where each number of a table comes from: the indices with which a net's table is gathered.

All parameters of a graph U-Net stand in one vector. What the table is made of stands in another,
the numbers: the parameters, then sums over the channels of a layer, the normalised adjacencies and
their products with the poolings, then 0 and 1. The adjacencies of all levels are one batch, filled
up with zeros. Every entry of the table is the sum of one number and the product of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.sizes import Sizes
from handgraph.nn.kernels.uses import Uses
from handgraph.nn.unet_maps import Bottleneck, Level, level_steps, split_steps


class Layout(NamedTuple):
    """All indices for one net; parameters and numbers are vectors of ``sizes`` each.

    Args:
        sizes: How many parameters, sums, entries of adjacencies, and of products there are.
        adjacency, steps, sums: Which parameters the adjacencies ``[N * L, J, J]``, what they are
            multiplied with ``[N * L, J, S]``, and the channels to sum ``[*, C]`` are.
        left, right, rest: Which numbers the entries of the table ``[N, T]`` are.
        of_numbers, of_parameters: The adjoints of the last three, and of the first three.
        constants: 0 and 1.
    """

    sizes: tuple[int, ...]
    adjacency: Tensor
    steps: Tensor
    sums: Tensor
    left: Tensor
    right: Tensor
    rest: Tensor
    of_numbers: Uses
    of_parameters: Uses
    constants: Tensor


_Entries = tuple[Tensor, ...]
"""The left and the right factors and the summands of a matrix or a bias."""


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
        self.stages: list[list[_Entries]] = []

        every = range(len(self.levels))
        steps = [level_steps(self.levels, i) for i in every]
        self.adjacency = self.join([level.adjacency for level in self.levels])
        self.steps = self.join(steps)
        self.deep = [level.up.chunk(2, dim=2)[1] for level in self.levels]
        summed = [*(level.down for level in self.levels), *self.deep, self.bottleneck.squeeze]
        most = max(channels.shape[2] for channels in summed)
        padded = [self.pad(channels, channels.shape[1], most) for channels in summed]
        self.sums = torch.cat([channels.flatten(0, 1) for channels in padded])

        kinds = self.num_parameters, len(self.sums), self.adjacency.numel(), self.steps.numel()
        self.sizes = kinds
        first, second, third, self.zero = accumulate(kinds)
        self.one = self.zero + 1
        rows = (first + torch.arange(kinds[1])).split([c.shape[0] * c.shape[1] for c in summed])
        self.sum_of = [row.view(c.shape[:2]) for row, c in zip(rows, summed, strict=True)]
        laplacian = self.split(second + _count(self.adjacency.shape))
        product = self.split(third + _count(self.steps.shape))
        self.laplacian = [m[:, :n, :n] for m, n in zip(laplacian, net.nodes, strict=False)]
        self.product = [
            m[:, : step.shape[1], : step.shape[2]] for m, step in zip(product, steps, strict=True)
        ]

    def pad(self, index: Tensor, rows: int, columns: int) -> Tensor:
        """Fill ``[N, *, *]`` up with zeros of the parameters."""
        short = 0, columns - index.shape[2], 0, rows - index.shape[1]
        return torch.nn.functional.pad(index, short, value=self.num_parameters)

    def join(self, matrices: list[Tensor]) -> Tensor:
        """Stack matrices of all levels: ``[N * L, J, *]``."""
        rows, columns = (max(matrix.shape[dim] for matrix in matrices) for dim in (1, 2))
        padded = [self.pad(matrix, rows, columns) for matrix in matrices]
        return torch.stack(padded, dim=1).flatten(0, 1)

    def split(self, joined: Tensor) -> list[Tensor]:
        """Undo the stacking."""
        return list(joined.unflatten(0, (-1, len(self.levels))).unbind(1))

    def table(self, plan: Plan) -> list[Tensor]:
        """What :func:`pack` would be given, as indices ``[N, T]`` of two factors and a summand."""
        for i, level in enumerate(self.levels):
            pool = split_steps(self.product[i], level.unpool.shape[2])[2:]
            nodes, *bias = pool if i > 0 else (self.laplacian[i],)
            self.down(nodes, bias[0] if bias else None, level.down, level.down_bias, i)
        last, bottleneck = self.levels[-1], self.bottleneck
        self.down(last.pool, last.pool_bias, bottleneck.squeeze, bottleneck.squeeze_bias, -1)
        branches, count, _ = last.pool.shape
        same = torch.full((count, count), self.zero).fill_diagonal_(self.one)
        same = same.expand(branches, count, count)
        self.down(same, None, bottleneck.expand, bottleneck.expand_bias, 0)
        for i in reversed(range(len(self.levels))):
            level, sums = self.levels[i], self.sum_of[len(self.levels) + i]
            unpool, unpool_bias = split_steps(self.product[i], level.unpool.shape[2])[:2]
            skip = self.matrix(self.laplacian[i], level.up.chunk(2, dim=2)[0])
            deep = self.matrix(unpool, self.deep[i])
            up_bias = self.bias(unpool_bias, sums, level.up_bias, unpool.shape[1])
            self.stages.append([skip, deep, up_bias])
        kinds = zip(*(zip(*stage, strict=True) for stage in self.stages), strict=True)
        return [plan.pack(maps, fill=self.zero) for maps in kinds]

    def down(
        self, nodes: Tensor, node_bias: Tensor | None, channels: Tensor, bias: Tensor, i: int
    ) -> None:
        """A stage down, of which the i-th sums belong to its channels."""
        found = self.bias(node_bias, self.sum_of[i], bias, nodes.shape[1])
        self.stages.append([self.matrix(nodes, channels), found])

    def matrix(self, nodes: Tensor, channels: Tensor) -> _Entries:
        """The product of ``[N, J', J]`` over the nodes and ``[N, C', C]`` over the channels."""
        left, right = nodes.mT[:, :, None, :, None], channels.mT[:, None, :, None, :]
        rest = torch.tensor(self.zero)
        found = torch.broadcast_tensors(left, right, rest)
        return tuple(index.flatten(3).flatten(1, 2) for index in found)

    def bias(self, node_bias: Tensor | None, sums: Tensor, bias: Tensor, nodes: int) -> _Entries:
        """``[N, J, 1]`` times ``[N, C]`` plus ``[N, C]``, or the last alone."""
        if node_bias is None:
            node_bias = torch.full((1, nodes, 1), self.zero)
            sums = torch.full_like(bias, self.zero)
        found = torch.broadcast_tensors(node_bias, sums.unsqueeze(1), bias.unsqueeze(1))
        return tuple(index.flatten(1).unsqueeze(1) for index in found)


def _count(shape: Sequence[int]) -> Tensor:
    return torch.arange(prod(shape)).view(*shape)


@cache
def layout(net: Sizes, device: torch.device) -> Layout:
    """Find the indices for a net, on a device."""
    built = _Builder(net)
    gathered, table = [built.adjacency, built.steps, built.sums], built.table(net.plan)
    adjacency, steps, sums, left, right, rest = (i.to(device) for i in (*gathered, *table))
    of_numbers = Uses.of(_join(table), built.zero).to(device)
    of_parameters = Uses.of(_join(gathered), built.num_parameters).to(device)
    constants = torch.tensor([0.0, 1.0], device=device)
    return Layout(
        built.sizes, adjacency, steps, sums, left, right, rest, of_numbers, of_parameters, constants
    )


def _join(indices: Sequence[Tensor]) -> Tensor:
    return torch.cat([index.flatten() for index in indices])
