"""The mean of a per-joint value over visible joints: pooled, or joint by joint."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.metrics._check import AVERAGES, Average, check_choice, check_values, joint_mask


def combine_joints(sums: Tensor, counts: Tensor, average: Average) -> Tensor:
    """Turn each joint's sum and count into one mean.

    ``"pooled"`` divides the sum of the sums by the sum of the counts. ``"joint"`` divides joint
    by joint, then averages over the joints that were measured at all. Nothing measured: NaN.

    Args:
        sums: Each joint's sum.
        counts: How many values each joint's sum holds. May lack leading dimensions of ``sums``.
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
    r"""Average a per-joint value over the visible joints of all images.

    Pooled, it is :math:`\sum_{ij} v_{ij} x_{ij} / \sum_{ij} v_{ij}` over images i and joints j.
    Of :func:`handgraph.metrics.joint_errors` it is the MPJPE, of
    :func:`handgraph.metrics.joint_auc` the AUC.

    Args:
        values: One value for each joint. What stands at hidden joints has no influence.
        visible: Which joints count; ``None``: all.
        average: ``"pooled"``: all visible joints weigh the same. ``"joint"``: the mean over the
            joints of each joint's mean, joints that are never visible left out (hand3d).

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        Those of ``values``. NaN at a visible joint, or no visible joint at all: NaN.

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
    check_values("values", values)
    mask = joint_mask(visible, values).reshape(-1, values.shape[-1])
    check_choice("average", average, AVERAGES)
    sums = torch.where(mask, values.reshape(mask.shape), 0).sum(0)
    return combine_joints(sums, mask.sum(0), average)


def visible_median(values: Tensor, visible: Tensor | None = None) -> Tensor:
    """Median of a per-joint value over the visible joints of all images.

    Of :func:`handgraph.metrics.joint_errors` it is the median end-point error. Of an even number of
    values it is the mean of the two in the middle.

    Args:
        values: One value for each joint. What stands at hidden joints has no influence.
        visible: Which joints count; ``None``: all.

    Shapes:
        values ``[*, J]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        Those of ``values``. NaN at a visible joint, or no visible joint at all: NaN.

    Raises:
        TypeError: If ``values`` is not float32 or float64, or ``visible`` not bool.
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> from handgraph.metrics import visible_median
        >>> visible_median(torch.tensor([[1.0, 4.0], [3.0, 9.0]])).item()
        3.5
    """
    check_values("values", values)
    shown = values[joint_mask(visible, values)]
    if shown.numel() == 0:
        return values.new_full((), torch.nan)
    middle = shown.sort().values[(len(shown) - 1) // 2 : len(shown) // 2 + 1].mean()
    return middle.where(~shown.isnan().any(), torch.nan)
