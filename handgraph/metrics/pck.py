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
    """Evenly spaced error thresholds from ``low`` to ``high``, both included.

    The default, 20 steps from 0 to 50 mm, is hand3d's. FreiHAND uses 100 steps; some papers 20 to
    50 mm or 0 to 30 mm. The AUC depends on the choice: print it beside the number.

    Args:
        high: The last threshold.
        steps: How many thresholds.
        low: The first threshold.
        dtype: Float type of the result; default: torch's.
        device: Device of the result.

    Shapes:
        -> ``[steps]``

    Units:
        Metres.

    Raises:
        TypeError: If ``steps`` is no int.
        ValueError: If ``steps`` is below 2, or not ``0 <= low < high < inf``.

    Example:
        >>> from handgraph.metrics import thresholds
        >>> [round(t, 4) for t in thresholds(0.05, steps=3).tolist()]
        [0.0, 0.025, 0.05]
    """
    check_count("steps", steps, 2)
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
    """Count, for each joint, the visible errors and those at or below each threshold.

    Counts of several batches or processes add up; the curve is their ratio.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Which joints are scored; ``None``: all.
        nan: What a NaN error at a visible joint is: ``"raise"``, an error; ``"miss"``, a joint
            that no threshold accepts. It is never dropped.

    Shapes:
        errors ``[*, J]``, thresholds ``[T]``, visible Bool ``[*, J]`` ->
        hits Long ``[T, J]``, counts Long ``[J]``

    Units:
        Metres. Compared in the dtype of ``errors``.

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
    r"""Share of the visible joints whose error is at or below each threshold.

    Sec. 3.1 and Fig. 3 of the paper. Pooled:
    :math:`PCK(t) = \sum_{ij} v_{ij} [e_{ij} \le t] / \sum_{ij} v_{ij}` over images i, joints j.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Which joints are scored; ``None``: all.
        average: ``"pooled"``: all visible joints weigh the same. ``"joint"``: the mean over the
            joints of each joint's curve, joints that are never visible left out (hand3d).
        nan: ``"raise"``: a NaN error at a visible joint is an error. ``"miss"``: it is a miss.

    Shapes:
        errors ``[*, J]``, thresholds ``[T]``, visible Bool ``[*, J]`` -> ``[T]``

    Units:
        Metres in, shares from 0 to 1 out. No visible joint: NaN.

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
    check_choice("average", average, AVERAGES)
    hits, counts = pck_counts(errors, thresholds, visible, nan=nan)
    return combine_joints(hits.to(errors.dtype), counts, average)


def auc(pck: Tensor, thresholds: Tensor) -> Tensor:
    r"""Area under a PCK curve by the trapezoid rule, over the range of its thresholds.

    Table 2 of the paper: :math:`\frac{1}{t_T - t_1} \int_{t_1}^{t_T} PCK(t)\,dt`.

    Args:
        pck: PCK at each threshold.
        thresholds: The increasing thresholds of the curve.

    Shapes:
        pck ``[*, T]``, thresholds ``[T]`` -> ``[*]``

    Units:
        A share from 0 to 1: the unit of the thresholds cancels. NaN in, NaN out.

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
    check_values("pck", pck)
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
    """Area under the PCK curve of each single joint error: the AUC before any averaging.

    A joint's own curve is 0 up to its error and 1 from there, so the AUC of many joints is the
    mean of theirs: ``auc(pck_curve(e, t, v), t) == visible_mean(joint_auc(e, t, v), v)``. Tables
    and bootstrap intervals start from it.

    Args:
        errors: Joint errors.
        thresholds: Increasing thresholds, in the unit of ``errors``.
        visible: Which joints are scored; ``None``: all. The others become NaN.
        nan: ``"raise"``: a NaN error at a visible joint is an error. ``"miss"``: its area is 0.

    Shapes:
        errors ``[*, J]``, thresholds ``[T]``, visible Bool ``[*, J]`` -> ``[*, J]``

    Units:
        Metres in, shares from 0 to 1 out.

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
    check_thresholds(thresholds, errors.device, 2)
    scored, mask = _scored(errors, visible, nan)
    grid = thresholds.to(errors.dtype)
    curves = torch.ones(len(grid) + 1, len(grid), dtype=grid.dtype, device=grid.device).triu()
    first_hit = torch.searchsorted(grid, scored.contiguous())  # the curve is 1 from there on
    return torch.where(mask, auc(curves, grid)[first_hit], torch.nan)


def _scored(errors: Tensor, visible: Tensor | None, nan: NanPolicy) -> tuple[Tensor, Tensor]:
    """Errors with those that cannot hit (hidden, NaN) as infinite; and which are visible."""
    check_values("errors", errors)
    mask = joint_mask(visible, errors)
    check_choice("nan", nan, NAN_POLICIES)
    lost = mask & errors.isnan()
    if nan == "raise" and lost.any():
        raise ValueError(
            f"expected numbers, got NaN at {int(lost.sum())} of {int(mask.sum())} visible joints: "
            f"mend the predictions, or count them as misses with nan='miss'"
        )
    if (mask & (errors < 0)).any():
        raise ValueError("expected errors of at least 0 (lengths), got negative ones")
    return torch.where(mask & ~lost, errors, torch.inf), mask
