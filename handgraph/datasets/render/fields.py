"""Image operations: sequential random numbers, resizing, blur and smooth functions."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Uniform random numbers ``[n, number]`` that are read in sequence.

    Example:
        >>> draws = Draws(torch.tensor([[0.0, 0.5, 0.25]]))
        >>> draws.take(2.0, 4.0), draws.take(0.0, 1.0, 2)
        (tensor([2.]), tensor([[0.5000, 0.2500]]))
    """

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers
        self.place = 0

    def take(self, low: float, high: float, *shape: int) -> Tensor:
        """Return the next numbers in [low, high) for each image, ``[n, *shape]``."""
        count = torch.Size(shape).numel()
        numbers = self.numbers[:, self.place : self.place + count]
        self.place += count
        return (low + (high - low) * numbers).view(len(numbers), *shape)

    def chance(self, share: float) -> Tensor:
        """Return 1 with this probability and otherwise 0, ``[n]``."""
        return (self.take(0.0, 1.0) < share).float()


def stretch(x: Tensor, size: int) -> Tensor:
    """Resize ``[*, s, s]`` to ``[*, size, size]``, bilinearly and with replicated edges.

    Example:
        >>> stretch(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), 4)[0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    columns = _stretch_rows(x.transpose(-1, -2).contiguous(), size)
    return _stretch_rows(columns.transpose(-1, -2).contiguous(), size)


def blur(x: Tensor, share: Tensor | float = 0.25, reach: int = 1) -> Tensor:
    """Blur along both axes: weight ``share`` for each of the two neighbours at distance ``reach``.

    Edges are replicated.

    Example:
        >>> blur(torch.tensor([[0.0, 4.0, 0.0], [0.0, 4.0, 0.0]]), 0.25)[0].tolist()
        [1.0, 2.0, 1.0]
    """
    for dim in (-1, -2):
        moved, rest = share * x, x.shape[dim] - reach
        x = x - 2.0 * moved
        x.narrow(dim, reach, rest).add_(moved.narrow(dim, 0, rest))
        x.narrow(dim, 0, rest).add_(moved.narrow(dim, reach, rest))
        x.narrow(dim, 0, reach).add_(moved.narrow(dim, 0, 1))
        x.narrow(dim, rest, reach).add_(moved.narrow(dim, -1, 1))
    return x


def smooth_step(x: Tensor) -> Tensor:
    """Return the smooth step :math:`3 x^2 - 2 x^3` of x clamped to [0, 1]."""
    x = x.clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def bump(x: Tensor) -> Tensor:
    """Return a bump of height 1 around 0 with support [-1, 1]."""
    rest = (1.0 - x * x).relu()
    return rest * rest


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Reshape ``[n]`` to ``[n, 1, ...]``, which broadcasts with ``like``."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _stretch_rows(x: Tensor, size: int) -> Tensor:
    old = x.shape[-2]
    place = (torch.arange(size, dtype=x.dtype, device=x.device) + 0.5) * (old / size) - 0.5
    place = place.clamp(0.0, old - 1.0)
    first = place.long()
    share = (place - first)[:, None]
    low, high = x.index_select(-2, first), x.index_select(-2, (first + 1).clamp(max=old - 1))
    return low + share * (high - low)
