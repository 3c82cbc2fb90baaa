"""Mean of a per-joint value over visible joints, pooled or by joint."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.metrics._check import AVERAGES, Average, check_choice, check_values, joint_mask


def combine_joints(sums: Tensor, counts: Tensor, average: Average) -> Tensor:
    """Compute the mean from the sum and count of each joint.

    ``"pooled"`` divides the sum of the sums by the sum of the counts. ``"joint"`` divides for each
    joint, then averages over joints with a positive count. The mean is NaN if all counts are 0.

    Args:
        sums: Sum of each joint.
        counts: Number of values in each sum; broadcasts with ``sums``.
        average: ``"pooled"`` or ``"joint"``.

    Shapes:
        ``[*, J]`` -> ``[*]``

    Example:
        >>> import torch
        >>> from handgraph.metrics.mean import combine_joints
        >>> sums, counts = torch.tensor([6.0, 2.0, 0.0]), torch.tensor([3, 1, 0])
        >>> combine_joints(sums, counts, "joint").item()
        2.0
    """
    if average == "pooled":
        return sums.sum(-1) / counts.sum(-1)
    measured = counts > 0
    means = torch.where(measured, sums / counts.clamp(min=1), 0)
    return means.sum(-1) / measured.sum(-1)


def visible_mean(
    values: Tensor, visible: Tensor | None = None, *, average: Average = "pooled"
) -> Tensor:
    r"""Compute the mean of a per-joint value over the visible joints of all images.

    The pooled mean is :math:`\sum_{ij} v_{ij} x_{ij} / \sum_{ij} v_{ij}` over images i and joints
    j. For :func:`handgraph.metrics.joint_errors` it is the MPJPE, for
    :func:`handgraph.metrics.joint_auc` the AUC.

    Args:
        values: One value for each joint. Values at hidden joints are ignored.
        visible: Joints to score. Default: all.
        average: ``"pooled"`` weighs all visible joints equally. ``"joint"`` averages the means of
            the joints, without joints that are never visible (as hand3d does).

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        The unit of ``values``. NaN for a NaN at a visible joint, or without visible joints.

    Raises:
        TypeError: If ``values`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ, or ``average`` is unknown.

    Example:
        >>> import torch
        >>> from handgraph.metrics import visible_mean
        >>> values = torch.tensor([[1.0, 4.0], [3.0, 9.0]])
        >>> visible = torch.tensor([[True, True], [True, False]])
        >>> visible_mean(values, visible, average="joint").item()
        3.0
    """
    check_values(values, "values")
    mask = joint_mask(visible, values).reshape(-1, values.shape[-1])
    check_choice(average, "average", AVERAGES)
    sums = torch.where(mask, values.reshape(mask.shape), 0).sum(0)
    return combine_joints(sums, mask.sum(0), average)


def visible_median(values: Tensor, visible: Tensor | None = None) -> Tensor:
    """Compute the median of a per-joint value over the visible joints of all images.

    For :func:`handgraph.metrics.joint_errors` it is the median end-point error. For an even number
    of values it is the mean of the two middle values.

    Args:
        values: One value for each joint. Values at hidden joints are ignored.
        visible: Joints to score. Default: all.

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        The unit of ``values``. NaN for a NaN at a visible joint, or without visible joints.

    Raises:
        TypeError: If ``values`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> from handgraph.metrics import visible_median
        >>> visible_median(torch.tensor([[1.0, 4.0], [3.0, 9.0]])).item()
        3.5
    """
    check_values(values, "values")
    shown = values[joint_mask(visible, values)]
    if shown.numel() == 0:
        return values.new_full((), torch.nan)
    middle = shown.sort().values[(len(shown) - 1) // 2 : len(shown) // 2 + 1].mean()
    return middle.where(~shown.isnan().any(), torch.nan)
