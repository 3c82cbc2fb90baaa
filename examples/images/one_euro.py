"""The One-Euro filter: smooth where a signal is slow, quick where it is fast."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SPEED_CUTOFF = 1.0
"""Cutoff in Hz of the filter of the speed, as in the paper."""


class OneEuro:
    r"""Filter values that arrive one after the other (Casiez, Roussel and Vogel, CHI 2012).

    .. math::
        \hat x_i = \hat x_{i-1} + \alpha(f_c) (x_i - \hat x_{i-1}), \quad
        \alpha(f) = \frac{1}{1 + 1 / (2 \pi f \, \Delta t)}, \quad
        f_c = f_{min} + \beta |\hat{\dot x}_i|

    The speed :math:`(x_i - \hat x_{i-1}) / \Delta t` is filtered in the same way, by a constant
    cutoff of 1 Hz. Each entry has a filter of its own. NaN stays NaN, and the filter starts anew
    behind it.

    Args:
        min_cutoff: :math:`f_{min}` in Hz; lower is smoother.
        beta: Hz per unit of speed; higher lags less behind fast values.

    Raises:
        ValueError: If ``min_cutoff`` is not positive or ``beta`` negative; in a call, if time does
            not grow.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.02):
        if not (0 < min_cutoff < math.inf and 0 <= beta < math.inf):
            raise ValueError(
                f"expected min_cutoff > 0 and beta >= 0, got {min_cutoff:g} and {beta:g}"
            )
        self.min_cutoff, self.beta = min_cutoff, beta
        self.seconds = -math.inf
        self.value = self.speed = torch.tensor(torch.nan)

    def __call__(self, x: Tensor, seconds: float) -> Tensor:
        """Filter the next value, which was measured at this time."""
        step = seconds - self.seconds
        if not step > 0:
            raise ValueError(f"expected a time after {self.seconds:g} s, got {seconds:g} s")
        if step == math.inf:
            self.value = torch.full_like(x, torch.nan)
        fresh = self.value.isnan()
        before, speed = torch.where(fresh, x, self.value), self.speed.where(~fresh, 0)
        self.speed = speed + gain(SPEED_CUTOFF, step) * ((x - before) / step - speed)
        cutoff = self.min_cutoff + self.beta * self.speed.abs()
        self.value = before + gain(cutoff, step) * (x - before)
        self.seconds = seconds
        return self.value


def gain(cutoff: Tensor | float, step: float) -> Tensor | float:
    """How far a low-pass filter goes towards its input in a time step."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
