"""Percentage of correct keypoints (PCK), and the area under its curve (AUC)."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_count, check_number
from handgraph.metrics._check import (
    AVERAGES,
    NAN_POLICIES,
    Average,
    NanPolicy,
    check_choice,
    check_thresholds,
    check_values,
    joint_mask,
)
from handgraph.metrics.mean import combine_joints


def thresholds(
    high: float = 0.05,
    steps: int = 20,
    low: float = 0.0,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return evenly spaced error thresholds from ``low`` to ``high``, both included.

    The default, 20 steps from 0 to 50 mm, is that of hand3d. FreiHAND uses 100 steps, and some
    papers use 20 to 50 mm or 0 to 30 mm. The AUC depends on the thresholds, so report them.

    Args:
        high: The last threshold.
        steps: Number of thresholds.
        low: The first threshold.
        dtype: Floating-point type of the result. Default: PyTorch's default dtype.
        device: Device of the result.

    Shapes:
        -> ``[steps]``

    Units:
        Metres.

    Raises:
        TypeError: If ``steps`` is not int.
        ValueError: If ``steps`` is below 2, or not ``0 <= low < high < inf``.

    Example:
        >>> from handgraph.metrics import thresholds
        >>> [round(t, 4) for t in thresholds(0.05, steps=3).tolist()]
        [0.0, 0.025, 0.05]
    """
    check_count(steps, "steps", 2)
    check_number(low, "low")
    check_number(high, "high")
    if not 0 <= low < high < float("inf"):
        raise ValueError(f"expected 0 <= low < high < inf (metres), got low={low}, high={high}")
    exact = torch.linspace(low, high, steps, dtype=torch.float64)
    return exact.to(device=device, dtype=dtype or torch.get_default_dtype())


def pck_counts(
    errors: Tensor,
    thresholds: Tensor,
    visible: Tensor | None = None,
    *,
    nan: NanPolicy = "raise",
) -> tuple[Tensor, Tensor]:
    """Count the visible errors of each joint, and those at or below each threshold.

    Counts of batches or processes can be summed. Their ratio is the PCK curve.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Joints to score. Default: all.
        nan: ``"raise"`` raises for a NaN error at a visible joint. ``"miss"`` counts it as a miss
            at every threshold. NaN errors are never dropped.

    Shapes:
        errors ``[*, J]``, thresholds ``[T]``, visible Bool ``[*, J]`` ->
        hits Long ``[T, J]``, counts Long ``[J]``

    Units:
        Metres. The comparison is in the dtype of ``errors``.

    Raises:
        TypeError: If the floats are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, the thresholds do not increase, an error is negative,
            or (with ``nan="raise"``) NaN at a visible joint.

    Example:
        >>> import torch
        >>> from handgraph.metrics import pck_counts
        >>> errors = torch.tensor([[0.01, 0.02], [0.03, 0.04]])
        >>> hits, counts = pck_counts(errors, torch.tensor([0.01, 0.03]))
        >>> hits.tolist(), counts.tolist()
        ([[1, 0], [2, 1]], [2, 2])
    """
    check_values(errors, "errors")
    check_thresholds(thresholds, errors.device, 1)
    scored, mask = _scored(errors, visible, nan)
    scored = scored.reshape(-1, errors.shape[-1])
    hits = [(scored <= t).sum(0) for t in thresholds.to(errors.dtype)]
    return torch.stack(hits), mask.reshape(scored.shape).sum(0)


def pck_curve(
    errors: Tensor,
    thresholds: Tensor,
    visible: Tensor | None = None,
    *,
    average: Average = "pooled",
    nan: NanPolicy = "raise",
) -> Tensor:
    r"""Compute the fraction of the visible joints with an error at or below each threshold.

    Sec. 3.1 and Fig. 3 of the paper. Pooled:
    :math:`PCK(t) = \sum_{ij} v_{ij} [e_{ij} \le t] / \sum_{ij} v_{ij}` over images i, joints j.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Joints to score. Default: all.
        average: ``"pooled"`` weighs all visible joints equally. ``"joint"`` averages the curves of
            the joints, without joints that are never visible (as hand3d does).
        nan: ``"raise"`` raises for a NaN error at a visible joint. ``"miss"`` counts it as a miss.

    Shapes:
        errors ``[*, J]``, thresholds ``[T]``, visible Bool ``[*, J]`` -> ``[T]``

    Units:
        errors in metres; the output is fractions from 0 to 1, or NaN without visible joints.

    Raises:
        TypeError: If the floats are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, the thresholds do not increase, an error is negative,
            or (with ``nan="raise"``) NaN at a visible joint; if ``average`` or ``nan`` is unknown.

    Example:
        >>> import torch
        >>> from handgraph.metrics import pck_curve
        >>> errors = torch.tensor([[0.01, 0.02], [0.03, 0.04]])
        >>> pck_curve(errors, torch.tensor([0.01, 0.03, 0.05])).tolist()
        [0.25, 0.75, 1.0]
    """
    check_choice(average, "average", AVERAGES)
    hits, counts = pck_counts(errors, thresholds, visible, nan=nan)
    return combine_joints(hits.to(errors.dtype), counts, average)


def auc(pck: Tensor, thresholds: Tensor) -> Tensor:
    r"""Compute the normalised area under a PCK curve with the trapezoid rule.

    Table 2 of the paper: :math:`\frac{1}{t_T - t_1} \int_{t_1}^{t_T} PCK(t)\,dt`.

    Args:
        pck: PCK at each threshold.
        thresholds: Increasing thresholds of the curve.

    Shapes:
        pck ``[*, T]``, thresholds ``[T]`` -> ``[*]``

    Units:
        A fraction from 0 to 1; the unit of the thresholds cancels. NaN inputs give NaN.

    Raises:
        TypeError: If the floats are not float32 or float64.
        ValueError: If there are fewer than two thresholds, they do not increase, or their number
            is not that of the curve's points.

    Example:
        >>> import torch
        >>> from handgraph.metrics import auc
        >>> auc(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.025, 0.05])).item()
        0.5
    """
    check_values(pck, "pck")
    check_thresholds(thresholds, pck.device, 2)
    if pck.shape[-1] != thresholds.shape[0]:
        raise ValueError(
            f"expected pck of shape [*, {thresholds.shape[0]}], one value for each threshold, "
            f"got {list(pck.shape)}"
        )
    grid = thresholds.to(pck.dtype)
    return torch.trapezoid(pck, grid, dim=-1) / (grid[-1] - grid[0])


def joint_auc(
    errors: Tensor,
    thresholds: Tensor,
    visible: Tensor | None = None,
    *,
    nan: NanPolicy = "raise",
) -> Tensor:
    """Compute the area under the PCK curve of each single joint error.

    The curve of a single joint is 0 below its error and 1 from there on. The AUC of many joints is
    the mean of their areas: ``auc(pck_curve(e, t, v), t) == visible_mean(joint_auc(e, t, v), v)``.
    Tables and bootstrap intervals of the AUC use these areas.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Joints to score. Default: all. Other joints give NaN.
        nan: ``"raise"`` raises for a NaN error at a visible joint. ``"miss"`` gives an area of 0.

    Shapes:
        errors ``[*, J]``, thresholds ``[T]``, visible Bool ``[*, J]`` -> ``[*, J]``

    Units:
        errors in metres; the output is fractions from 0 to 1.

    Raises:
        TypeError: If the floats are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, the thresholds do not increase, an error is negative,
            or (with ``nan="raise"``) NaN at a visible joint.

    Example:
        >>> import torch
        >>> from handgraph.metrics import joint_auc, thresholds
        >>> joint_auc(torch.tensor([0.0, 0.025, 0.06]), thresholds(steps=3)).tolist()
        [1.0, 0.75, 0.0]
    """
    check_values(errors, "errors")
    check_thresholds(thresholds, errors.device, 2)
    scored, mask = _scored(errors, visible, nan)
    grid = thresholds.to(errors.dtype)
    curves = torch.ones(len(grid) + 1, len(grid), dtype=grid.dtype, device=grid.device).triu()
    first_hit = torch.searchsorted(grid, scored.contiguous())  # the curve is 1 from here on
    return torch.where(mask, auc(curves, grid)[first_hit], torch.nan)


def _scored(errors: Tensor, visible: Tensor | None, nan: NanPolicy) -> tuple[Tensor, Tensor]:
    """Return errors, infinite for hidden joints and NaN, and the mask of visible joints."""
    mask = joint_mask(visible, errors)
    check_choice(nan, "nan", NAN_POLICIES)
    lost = mask & errors.isnan()
    if nan == "raise" and lost.any():
        raise ValueError(
            f"expected numbers, got NaN at {int(lost.sum())} of {int(mask.sum())} visible joints: "
            f"fix the predictions, or count them as misses with nan='miss'"
        )
    if (mask & (errors < 0)).any():
        raise ValueError("expected errors of at least 0 (lengths), got negative ones")
    return torch.where(mask & ~lost, errors, torch.inf), mask
