"""Products over the nodes and over the channels of a batch whose samples share their maps.

A tensor is ``[N, J, S]``: branches, nodes, and the channels of all samples. A map over the nodes is
one product per branch. The product of a map over the channels depends on the layout of S, see
:class:`Batch`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.engines.looking import traced

FEW = 32
"""Largest batch with the samples before the channels in S. A map over the channels is then one
product per branch. With more samples its matrices are too tall, and one product per node, with the
samples as columns, is faster."""


def multiply(
    a: Tensor, b: Tensor, onto: Tensor | None = None, in_place: bool = False, one: bool = False
) -> Tensor:
    """Return the product of each branch, plus ``onto``. A single branch is broadcast.

    Args:
        a: ``[N, I, K]``
        b: ``[N, K, L]``
        onto: ``[N, I, L]``
        in_place: Whether ``onto`` may be changed.
        one: Whether to sum over the branches.
    """
    branches = a.shape[0]
    if (
        branches != b.shape[0]
        or (one and branches > 1)
        or (onto is not None and onto.shape[0] != branches)
    ):
        return plus(torch.matmul(a, b), onto, in_place, one)
    if onto is None:
        return torch.bmm(a, b)
    if not in_place:
        return torch.baddbmm(onto, a, b)
    if torch.is_grad_enabled():
        return onto.baddbmm_(a, b)
    return torch.baddbmm(onto, a, b, out=onto)  # unlike baddbmm_, FLOP counters know it


def plus(x: Tensor, onto: Tensor | None, in_place: bool = False, one: bool = False) -> Tensor:
    """Add x, or its sum over the branches, to ``onto``; see :func:`multiply`."""
    if one and x.shape[0] > 1:
        x = x.sum(0, True)
    if onto is None:
        return x
    return onto.add_(x) if in_place and onto.shape[0] >= x.shape[0] else onto + x


class Batch(NamedTuple):
    """The layout of S: ``[B, C]`` for small batches, ``[C, B]`` for large ones.

    Args:
        size: B.
        last: Whether the samples are the last dimension.
    """

    size: int
    last: bool

    @staticmethod
    def of(size: int) -> Batch:
        """Return the fastest layout; traced programs have one layout for all sizes."""
        return Batch(size, traced() is not None or size > FEW)

    def enter(self, x: Tensor) -> Tensor:
        """Rearrange ``[N, J, C, B]`` to ``[N, J, S]``."""
        return x.flatten(2) if self.last else x.transpose(2, 3).flatten(2)

    def leave(self, x: Tensor, channels: int) -> Tensor:
        """Rearrange ``[N, J, S]`` to ``[N, J, C, B]``."""
        x = self.split(x, channels)
        return x if self.last else x.transpose(2, 3)

    def split(self, x: Tensor, channels: int) -> Tensor:
        """Split S of ``[N, J, S]`` into two dimensions."""
        size = (channels, self.size) if self.last else (self.size, channels)
        return x.reshape(x.shape[0], x.shape[1], *size)

    def mix(
        self,
        x: Tensor,
        weight: Tensor,
        onto: Tensor | None = None,
        in_place: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Map the channels by ``[N, C', C]`` and add the result to ``onto``.

        A bias ``[N, J or 1, C']`` requires that the samples are last and all have N branches.
        """
        (branches, nodes, _), (_, outs, ins) = x.shape, weight.shape
        if not self.last:
            rows = None if onto is None else self._rows(onto, outs)
            mixed = multiply(self._rows(x, ins), weight.mT, rows, in_place)
            return mixed if self.size == 1 else mixed.view(mixed.shape[0], nodes, self.size * outs)
        if branches != weight.shape[0] or (onto is not None and onto.shape[0] != branches):
            mixed = torch.matmul(weight.unsqueeze(1), self.split(x, ins))
            return plus(mixed.flatten(2), onto, in_place)
        each = weight if branches == 1 else weight.unsqueeze(1)
        each = each.expand(*each.shape[:-3], nodes, -1, -1).reshape(branches * nodes, outs, ins)
        if bias is not None:
            onto = bias.expand(-1, nodes, outs).reshape(branches * nodes, outs, 1)
        elif onto is not None:
            onto = self._columns(onto, outs)
        mixed = multiply(each, self._columns(x, ins), onto, in_place)
        return mixed.view(branches, nodes, outs * self.size)

    def _rows(self, x: Tensor, channels: int) -> Tensor:
        """Reshape to one row per node and sample."""
        return x if self.size == 1 else x.reshape(x.shape[0], x.shape[1] * self.size, channels)

    def _columns(self, x: Tensor, channels: int) -> Tensor:
        """Reshape to one matrix per node, with one column per sample."""
        return x.reshape(x.shape[0] * x.shape[1], channels, self.size)

    def mix_gradient(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weight from that of the output of :meth:`mix`."""
        one, outs, ins = weight.shape[0] == 1, *weight.shape[1:]
        if not self.last:
            return multiply(self._rows(grad, outs).mT, self._rows(x, ins), one=one)
        if grad.shape[0] != x.shape[0]:
            each = torch.matmul(self.split(grad, outs), self.split(x, ins).mT)
        else:
            each = torch.bmm(self._columns(grad, outs), self._columns(x, ins).mT)
            each = each.view(x.shape[0], x.shape[1], outs, ins)
        return plus(each.sum(1), None, one=one)

    def add(self, x: Tensor, bias: Tensor, channels: int, in_place: bool) -> Tensor:
        """Add ``[N, J or 1, C]`` to every sample."""
        if self.size == 1 and not self.last:
            return plus(bias, x, in_place)
        bias = bias.unsqueeze(3 if self.last else 2)
        return plus(bias, self.split(x, channels), in_place).flatten(2)

    def weigh(self, x: Tensor, vector: Tensor, channels: int, in_place: bool = False) -> Tensor:
        """Multiply all channels of each node of each sample by ``[N, J, B]``."""
        x, vector = self.split(x, channels), vector.unsqueeze(2 if self.last else 3)
        in_place = in_place and x.shape[0] >= vector.shape[0]
        return (x.mul_(vector) if in_place else x * vector).flatten(2)

    def sum_samples(self, x: Tensor, channels: int) -> Tensor:
        """Return the sum over the samples, ``[N, J, C]``."""
        return self.split(x, channels).sum(3 if self.last else 2)

    def sum_channels(self, x: Tensor, channels: int) -> Tensor:
        """Return the sum over the channels, ``[N, J, B]``."""
        return self.split(x, channels).sum(2 if self.last else 3)
