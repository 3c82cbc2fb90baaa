"""Calibration and sharpness of predicted error scales."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from handgraph._check import check_like, check_tensor
from handgraph.metrics._check import (
    check_level,
    check_no_nan,
    check_thresholds,
    check_values,
    joint_mask,
)
from handgraph.metrics.mean import visible_mean


def calibration_curve(
    residuals: Tensor, scale: Tensor, levels: Tensor, visible: Tensor | None = None
) -> Tensor:
    r"""Compute the fraction of residuals in the central Laplace interval of each nominal level.

    Kuleshov, Fenner and Ermon, "Accurate uncertainties for deep learning using calibrated
    regression" (2018), with central intervals: a Laplace distribution of scale b around the
    prediction contains the fraction p within :math:`\pm b \log \frac{1}{1 - p}`. Calibrated scales
    give the diagonal. A curve below it is overconfident.

    Args:
        residuals: Signed or absolute errors of one coordinate of each joint.
        scale: Predicted scale b of each residual: ``log_scale.exp()``.
        levels: Increasing nominal levels.
        visible: Joints to score. Default: all.

    Shapes:
        residuals and scale ``[*, J]``, levels ``[T]``, visible Bool ``[*, J]`` -> ``[T]``

    Units:
        residuals and scale in the same unit, which cancels; levels and output are fractions from 0
        to 1. NaN without visible joints.

    Raises:
        TypeError: If the floats are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, the levels do not increase from at least 0 to at most
            1, or, at a visible joint, a residual is NaN or a scale is not positive.

    Example:
        >>> import torch
        >>> from handgraph.metrics import calibration_curve
        >>> rng, levels = torch.Generator().manual_seed(0), torch.tensor([0.25, 0.5, 0.75])
        >>> errors = torch.empty(5000, 21).exponential_(generator=rng)  # |Laplace| of scale 1
        >>> too_large = calibration_curve(errors, torch.full_like(errors, 2.0), levels)
        >>> [round(share, 2) for share in too_large.tolist()]  # 1 - (1 - p)^2
        [0.44, 0.75, 0.94]
    """
    check_values(residuals, "residuals")
    check_like(scale, "scale", residuals, "residuals")
    _check_levels(levels, residuals.device)
    mask = joint_mask(visible, residuals)
    b = scale[mask]
    standard = residuals[mask].abs() / b
    check_no_nan(standard, "residuals and scales")
    if (b <= 0).any():
        raise ValueError("expected positive scales, got 0 or negative ones")
    widths = -torch.log1p(-levels.to(standard.dtype))
    return torch.stack([(standard <= width).to(standard.dtype).mean() for width in widths])


def expected_calibration_error(coverage: Tensor, levels: Tensor) -> Tensor:
    r"""Compute the mean distance of a calibration curve from the diagonal.

    :math:`\frac{1}{T} \sum_t |c_t - p_t|`: for a fine grid of levels from 0 to 1, the area between
    the two. Scales that are too large by a factor of 2 give 1/6.

    Args:
        coverage: The curve of :func:`handgraph.metrics.calibration_curve`.
        levels: Nominal levels of the curve.

    Shapes:
        coverage ``[*, T]``, levels ``[T]`` -> ``[*]``

    Units:
        A fraction from 0 to 1. NaN inputs give NaN.

    Raises:
        TypeError: If the floats are not float32 or float64.
        ValueError: If a shape does not fit, or the levels do not increase from at least 0 to at
            most 1.

    Example:
        >>> import torch
        >>> from handgraph.metrics import expected_calibration_error
        >>> levels = torch.linspace(0, 1, 101)
        >>> round(expected_calibration_error(1 - (1 - levels) ** 2, levels).item(), 2)
        0.17
    """
    check_values(coverage, "coverage")
    _check_levels(levels, coverage.device)
    if coverage.shape[-1] != levels.shape[0]:
        raise ValueError(
            f"expected coverage of shape [*, {levels.shape[0]}], one value for each level, "
            f"got {list(coverage.shape)}"
        )
    return (coverage - levels.to(coverage.dtype)).abs().mean(-1)


def sharpness(scale: Tensor, visible: Tensor | None = None, *, level: float = 0.9) -> Tensor:
    r"""Compute the mean width of the central Laplace interval of a nominal level.

    Gneiting, Balabdaoui and Raftery, "Probabilistic forecasts, calibration and sharpness" (2007):
    among calibrated forecasts, the sharpest is best. The width is :math:`2 b \log \frac{1}{1 - p}`.

    Args:
        scale: Predicted scale b of one coordinate of each joint.
        visible: Joints to average over. Default: all.
        level: The nominal level p.

    Shapes:
        scale ``[*, J]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        The unit of ``scale``. NaN for a NaN at a visible joint, or without visible joints.

    Raises:
        TypeError: If ``scale`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ, or not ``0 < level < 1``.

    Example:
        >>> import torch
        >>> from handgraph.metrics import sharpness
        >>> round(sharpness(torch.full((8, 21), 3.0), level=0.5).item(), 3)  # 2 * 3 * log 2
        4.159
    """
    check_level(level)
    return -2 * math.log1p(-level) * visible_mean(scale, visible)


def _check_levels(levels: Tensor, device: torch.device) -> None:
    check_tensor(levels, "levels")
    check_thresholds(levels, device, 1)
    if levels[0] < 0 or levels[-1] > 1:
        raise ValueError(f"expected levels from 0 to 1, got {levels.tolist()}")
