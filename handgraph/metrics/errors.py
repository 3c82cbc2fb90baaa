"""Joint errors: their mean, before and after an alignment, and what they are relative to."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.metrics._check import Average, check_poses, joint_mask
from handgraph.metrics.mean import visible_mean
from handgraph.metrics.procrustes import procrustes_align


def joint_errors(pred: Tensor, target: Tensor) -> Tensor:
    r"""Distance of each predicted joint from its target.

    Sec. 3.1 of the paper, in the camera frame: :math:`e_i = \lVert \hat X_i - X_i \rVert_2`. Give
    both poses in camera coordinates as they are (not relative to the root, not aligned).

    Args:
        pred: Predicted joints.
        target: True joints.

    Shapes:
        ``[*, J, C]``, C = 3 (or 2) -> ``[*, J]``

    Units:
        Metres in the camera frame give metres (pixels give pixels). NaN in, NaN out.

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
    r"""Mean per-joint position error over the visible joints of all images.

    The mean of :func:`joint_errors`. Hidden joints have no influence on it or its gradient.

    Args:
        pred: Predicted joints.
        target: True joints.
        visible: Which joints are scored; ``None``: all.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.

    Shapes:
        pred and target ``[*, J, C]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        Metres in the camera frame give metres. NaN at a visible joint, or no visible joint: NaN.

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
    """Joint errors, 0 at hidden joints, which have no gradient; and which joints are visible."""
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
    """Mean per-joint position error after Procrustes alignment of each pose, with scale.

    :func:`mpjpe` of :func:`handgraph.metrics.procrustes_align`: fitted to the visible joints and
    scored on them. To fit to all joints and score the visible ones, compose the two.

    Args:
        pred: Predicted joints.
        target: True joints.
        visible: Which joints are aligned and scored; ``None``: all.
        average: ``"pooled"`` or ``"joint"``, as in :func:`handgraph.metrics.visible_mean`.

    Shapes:
        pred and target ``[*, J, C]``, visible Bool ``[*, J]`` -> ``[]``

    Units:
        Those of ``target`` (metres). NaN if the alignment of any pose that has a visible joint is
        undetermined (fewer than three visible joints, joints on a line): leave such images out by
        hand, with ``visible.sum(-1) >= 3``, and say so beside the number. In the plane two
        joints are enough for 0.

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
    """The longer side of the box around the visible joints of each pose.

    Errors over it, ``joint_errors(pred, target) / box_size(target)[..., None]``, are those of
    box-normalised PCK, whose usual threshold is 0.2.

    Args:
        points: The true joints.
        visible: Which joints the box is put around; ``None``: all.

    Shapes:
        points ``[*, J, C]``, C = 2 (or 3), visible Bool ``[*, J]`` -> ``[*]``

    Units:
        Those of ``points``, pixels for example. NaN if no joint is visible.

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
