"""The One-Euro filter for joints of a video."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from handgraph._check import check_floating, check_like

SPEED_CUTOFF = 1.0
"""Cutoff of the filter of the speed in Hz, as in the paper."""

Number = TypeVar("Number", Tensor, float)


class OneEuro:
    r"""Smooth a sequence of values, more if they change slowly and less if they change fast.

    This is the One-Euro filter of Casiez, Roussel and Vogel (CHI 2012):

    .. math::
        \hat x_i = \hat x_{i-1} + \alpha(f_c) (x_i - \hat x_{i-1}), \quad
        \alpha(f) = \frac{1}{1 + 1 / (2 \pi f \, \Delta t)}, \quad
        f_c = f_{min} + \beta |\hat{\dot x}_i|

    The speed :math:`(x_i - \hat x_{i-1}) / \Delta t` is filtered in the same way, with a constant
    cutoff of 1 Hz. Each entry has its own filter. NaN stays NaN, and the filter restarts after it.

    Args:
        min_cutoff: :math:`f_{min}`. A lower value smooths more.
        beta: A higher value reduces the lag behind fast changes.

    Shapes:
        x ``[*]`` -> ``[*]``, the same in each call.

    Units:
        min_cutoff in Hz, beta in Hz per unit of speed, time in seconds.

    Raises:
        TypeError: In a call, if x is not floating point or its dtype or device changes.
        ValueError: If ``min_cutoff`` is not positive, ``beta`` is negative or one is not finite; in
            a call, if time does not increase or the shape changes.

    Example:
        >>> import torch
        >>> from handgraph.video import OneEuro
        >>> smooth = OneEuro(min_cutoff=1.0, beta=0.02)
        >>> [round(smooth(torch.tensor(float(i)), i / 30).item(), 2) for i in range(4)]
        [0.0, 0.19, 0.57, 1.14]
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.02):
        if not (0 < min_cutoff < math.inf and 0 <= beta < math.inf):
            raise ValueError(
                f"expected min_cutoff > 0 and beta >= 0, got {min_cutoff:g} and {beta:g}"
            )
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.seconds = -math.inf
        self.value: Tensor | None = None

    def __call__(self, x: Tensor, seconds: float) -> Tensor:
        """Filter the next value, measured at this time."""
        check_floating(x, "x of OneEuro")
        step = seconds - self.seconds
        if not step > 0:
            raise ValueError(f"expected a time after {self.seconds:g} s, got {seconds:g} s")
        if self.value is None:
            self.value, self.speed = torch.full_like(x, torch.nan), torch.zeros_like(x)
        check_like(x, "x of OneEuro", self.value, "the value before")
        fresh = self.value.isnan()
        before, speed = torch.where(fresh, x, self.value), self.speed.where(~fresh, 0)
        self.speed = speed + _gain(SPEED_CUTOFF, step) * ((x - before) / step - speed)
        cutoff = self.min_cutoff + self.beta * self.speed.abs()
        self.value = before + _gain(cutoff, step) * (x - before)
        self.seconds = seconds
        return self.value


def _gain(cutoff: Number, step: float) -> Number:
    """Return the weight of the input of a low-pass filter in a time step."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
