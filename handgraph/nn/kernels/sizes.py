"""The sizes of a graph U-Net: the shapes of its parameters, and the plan of its dense maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.stages import unet_plan
from handgraph.nn.unet_maps import Bottleneck, Level


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
        nodes, widths = self.nodes, self.widths
        downs = [n * c for n, c in zip(nodes, widths, strict=False)]
        downs += [nodes[-1] * self.bottleneck, nodes[-1] * widths[-1]]
        ups = [n * c for n, c in zip(nodes, (self.out_channels, *widths[:-1]), strict=False)]
        return unet_plan(nodes[0] * self.in_channels, downs, ups)

    def encode(self) -> list[int]:
        """As integers, which an operator can take."""
        return [*self[:4], *self.nodes, *self.widths]

    @staticmethod
    def decode(flat: Sequence[int]) -> Sizes:
        """Read what :meth:`encode` wrote."""
        levels = (len(flat) - 5) // 2
        branches, ins, outs, bottleneck = flat[:4]
        nodes, widths = tuple(flat[4 : 5 + levels]), tuple(flat[5 + levels :])
        return Sizes(branches, ins, outs, bottleneck, nodes, widths)

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


def flatten(levels: Sequence[Level], bottleneck: Bottleneck) -> tuple[Tensor, list[int]]:
    """All parameters one behind the other, in the order of ``shapes``, and the encoded sizes."""
    parameters = [*(parameter for level in levels for parameter in level), *bottleneck]
    flat: Tensor = _Flatten.apply(*parameters)
    return flat, Sizes.of(levels, bottleneck).encode()


class _Flatten(torch.autograd.Function):
    """One node of autograd where each parameter would have two."""

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:  # noqa: ANN401
        ctx.shapes = [parameter.shape for parameter in parameters]
        return torch.cat([parameter.flatten() for parameter in parameters])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        parts = grad.split([shape.numel() for shape in ctx.shapes])
        return tuple(part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True))
