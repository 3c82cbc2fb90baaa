"""The sizes of a graph U-Net: the shapes of its parameters, and the plan of its dense maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.stages import unet_plan
from handgraph.nn.unet_maps import Bottleneck, Level

MAX_NODES = 64
"""A kernel holds the adjacency of a level: larger nets take the torch path."""
MAX_ENTRIES = 2**29
"""So many entries of a table, 2 GB, can be listed by integers of 32 bits, padding included."""
CHUNK = 16
"""Of what an adjacency is multiplied with, a kernel takes so many columns at a time."""


class Sizes(NamedTuple):
    """The sizes of a graph U-Net.

    Args:
        branches: How many nets.
        in_channels, out_channels: Of a node.
        bottleneck: Channels of the bottleneck.
        nodes: Node counts of the levels, finest first.
        widths: Channels of all levels but the last.
    """

    branches: int
    in_channels: int
    out_channels: int
    bottleneck: int
    nodes: tuple[int, ...]
    widths: tuple[int, ...]

    @staticmethod
    def of(levels: Sequence[Level], bottleneck: Bottleneck) -> Sizes:
        """Read them off the parameters."""
        branches, nodes, _ = levels[0].adjacency.shape
        return Sizes(
            branches,
            levels[0].down.shape[2],
            levels[0].up.shape[1],
            bottleneck.squeeze.shape[1],
            (nodes, *(level.pool.shape[1] for level in levels)),
            tuple(level.down.shape[1] for level in levels),
        )

    @property
    def plan(self) -> Plan:
        """The chain of dense maps, each from all channels of all nodes of a level."""
        return _plan(self)

    @property
    def merged_shape(self) -> tuple[int, int, int]:
        """Of the normalised adjacencies and their products: one size for all levels."""
        above = [0, *(count + 1 for count in self.nodes)]
        steps = max(n + 1 + m for n, m in zip(self.nodes[1:], above, strict=False))
        size = max(CHUNK, 1 << (max(self.nodes[:-1]) - 1).bit_length())  # a power of two
        return self.branches * len(self.widths), size, size + -(-steps // CHUNK) * CHUNK

    def is_small(self) -> bool:
        """Whether the kernels are made for it."""
        entries = self.branches * self.plan.table_size
        few = max(self.nodes[:-1]) <= MAX_NODES and entries <= MAX_ENTRIES
        return few and self.plan.is_small()

    def encode(self) -> list[int]:
        """As integers, which an operator can take."""
        return [*self[:4], *self.nodes, *self.widths]

    @staticmethod
    def decode(flat: Sequence[int]) -> Sizes:
        """Read what :meth:`encode` wrote."""
        return _decode(tuple(flat))

    def shapes(self) -> Iterator[list[tuple[int, ...]]]:
        """The shapes of the parameters: those of each :class:`Level`, then of the bottleneck."""
        nodes, widths = self.nodes, self.widths
        ins, outs = (self.in_channels, *widths), (self.out_channels, *widths)
        for i, width in enumerate(widths):
            adjacency, pool = (nodes[i], nodes[i]), (nodes[i + 1], nodes[i])
            layers = [(width, ins[i]), (width,), (outs[i], 2 * width), (outs[i],)]
            pools = [pool, (pool[0], 1), pool[::-1], (pool[1], 1)]
            yield [(self.branches, *shape) for shape in (adjacency, *layers, *pools)]
        first, second = (self.bottleneck, widths[-1]), (widths[-1], self.bottleneck)
        yield [(self.branches, *shape) for shape in (first, first[:1], second, second[:1])]


@cache
def _plan(sizes: Sizes) -> Plan:
    nodes, widths = sizes.nodes, sizes.widths
    downs = [n * c for n, c in zip(nodes, widths, strict=False)]
    downs += [nodes[-1] * sizes.bottleneck, nodes[-1] * widths[-1]]
    ups = [n * c for n, c in zip(nodes, (sizes.out_channels, *widths[:-1]), strict=False)]
    return unet_plan(nodes[0] * sizes.in_channels, downs, ups)


@cache
def _decode(flat: tuple[int, ...]) -> Sizes:
    levels = (len(flat) - 5) // 2
    branches, ins, outs, bottleneck = flat[:4]
    return Sizes(branches, ins, outs, bottleneck, flat[4 : 5 + levels], flat[5 + levels :])


def flatten(levels: Sequence[Level], bottleneck: Bottleneck) -> tuple[Tensor, list[int]]:
    """All parameters one behind the other, in the order of ``shapes``, and the encoded sizes."""
    parameters = [*(parameter for level in levels for parameter in level), *bottleneck]
    flat: Tensor = _Flatten.apply(*parameters)
    return flat, Sizes.of(levels, bottleneck).encode()


class _Flatten(torch.autograd.Function):
    """One node of autograd where each parameter would have two."""

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:  # noqa: ANN401
        ctx.like = parameters
        out: Tensor = torch.ops.aten.flatten_dense_tensors(parameters)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        return tuple(torch.ops.aten.unflatten_dense_tensors(grad, ctx.like))
