"""Joint errors, their mean with and without alignment, and box sizes to normalise them."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.metrics._check import Average, check_poses, joint_mask
from handgraph.metrics.mean import visible_mean
from handgraph.metrics.procrustes import procrustes_align


def joint_errors(pred: Tensor, target: Tensor) -> Tensor:
    r"""Compute the distance of each predicted joint to its target.

    Sec. 3.1 of the paper, in the camera frame: :math:`e_i = \lVert \hat X_i - X_i \rVert_2`. Both
    poses must be in camera coordinates (not relative to the root, not aligned).

    Args:
        pred: Predicted joints.
        target: True joints.

    Shapes:
        ``[*, J, C]``, C = 3 (or 2) -> ``[*, J]``

    Units:
        Metres in the camera frame give metres (pixels give pixels). NaN inputs give NaN.

    Raises:
        TypeError: If the poses are not both float32 or both float64.
        ValueError: If the shapes differ, or are not ``[*, J, 2]`` or ``[*, J, 3]``.

    Example:
        >>> import torch
        >>> from handgraph.metrics import joint_errors
        >>> joint_errors(torch.tensor([[0.0, 3.0, 4.0]]), torch.zeros(1, 3)).item()
        5.0
    """
    check_poses(pred, target)
    errors: Tensor = torch.linalg.vector_norm(pred - target, dim=-1)
    return errors


def mpjpe(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    *,
    average: Average = "pooled",
) -> Tensor:
    r"""Compute the mean per-joint position error over the visible joints of all images.

    This is the mean of :func:`joint_errors`. Hidden joints affect neither it nor its gradient.

    Args:
        pred: Predicted joints.
        target: True joints.
        visible: Joints to score. Default: all.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.

    Shapes:
        pred and target ``[*, J, C]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        Metres, in the camera frame. NaN for a NaN at a visible joint, or without visible joints.

    Raises:
        TypeError: If the poses are not both float32 or both float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, or ``average`` is unknown.

    Example:
        >>> import torch
        >>> from handgraph.metrics import mpjpe
        >>> pred, target = torch.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]]), torch.zeros(2, 3)
        >>> mpjpe(pred, target).item()
        3.0
    """
    errors, mask = shown_errors(pred, target, visible)
    return visible_mean(errors, mask, average=average)


def shown_errors(pred: Tensor, target: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return joint errors, 0 without gradient at hidden joints, and the mask of visible joints."""
    check_poses(pred, target)
    mask = joint_mask(visible, pred[..., 0])
    shown = mask.unsqueeze(-1)
    return joint_errors(torch.where(shown, pred, 0), torch.where(shown, target, 0)), mask


def pa_mpjpe(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    *,
    average: Average = "pooled",
) -> Tensor:
    """Compute the mean per-joint position error after Procrustes alignment with scale.

    This is :func:`mpjpe` after :func:`handgraph.metrics.procrustes_align`, fitted to the visible
    joints and scored on them. To fit to all joints and score the visible ones, compose the two
    functions.

    Args:
        pred: Predicted joints.
        target: True joints.
        visible: Joints to align and score. Default: all.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.

    Shapes:
        pred and target ``[*, J, C]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        The unit of ``target`` (metres). NaN if the alignment of any pose with a visible joint is
        undetermined (fewer than three visible joints, joints on a line). Exclude such images with
        ``visible.sum(-1) >= 3``, and report the exclusion. In 2D, two joints always give 0.

    Raises:
        TypeError: If the poses are not both float32 or both float64, or ``visible`` not bool.
        ValueError: If a shape does not fit, or ``average`` is unknown.

    Example:
        >>> import torch
        >>> from handgraph.metrics import pa_mpjpe
        >>> target = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        >>> round(pa_mpjpe(2 * target + 7, target).item(), 4)
        0.0
    """
    check_poses(pred, target)
    mask = joint_mask(visible, pred[..., 0])
    shown = torch.where(mask.unsqueeze(-1), pred, 0)
    return mpjpe(procrustes_align(shown, target, mask), target, mask, average=average)


def box_size(points: Tensor, visible: Tensor | None = None) -> Tensor:
    """Return the longer side of the bounding box of the visible joints of each pose.

    Box-normalised PCK uses the errors ``joint_errors(pred, target) / box_size(target)[..., None]``,
    usually with a threshold of 0.2.

    Args:
        points: True joints.
        visible: Joints that the box contains. Default: all.

    Shapes:
        points ``[*, J, C]``, C = 2 (or 3), visible Bool ``[*, J]`` -> ``[*]``

    Units:
        The unit of ``points``, such as pixels. NaN if no joint is visible.

    Raises:
        TypeError: If the points are not float32 or float64, or ``visible`` not bool.
        ValueError: If a shape does not fit.

    Example:
        >>> import torch
        >>> from handgraph.metrics import box_size
        >>> box_size(torch.tensor([[10.0, 20.0], [40.0, 30.0]])).item()
        30.0
    """
    check_poses(points, points)
    mask = joint_mask(visible, points[..., 0])
    shown = mask.unsqueeze(-1)
    low = torch.where(shown, points, torch.inf).amin(dim=-2)
    high = torch.where(shown, points, -torch.inf).amax(dim=-2)
    return (high - low).amax(dim=-1).where(mask.any(dim=-1), torch.nan)
