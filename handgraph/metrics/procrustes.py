"""Alignment of poses: by rotation, scale and shift (Procrustes), or by scale alone."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.metrics._check import check_poses, joint_mask


def procrustes_align(pred: Tensor, target: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Move each predicted pose onto its target by the best similarity transform.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
    (1991): the scale s > 0, rotation R (det R = 1) and shift t that minimise
    :math:`\sum_j v_j \lVert s R x_j + t - y_j \rVert^2`.

    The transform is fitted to the visible joints and applied to all of them. It is undetermined,
    and the pose comes back as NaN, if fewer than three joints are visible, if those of either
    pose lie on one line or in one point, if two reflections fit equally well, or if a visible
    joint is not finite. In the plane (C = 2) two joints are enough, which then fit exactly, and
    so is a line. Gradients are those of the SVD.

    Args:
        pred: Poses to move.
        target: Where to move them.
        visible: Which joints the transform is fitted to; ``None``: all. What stands at the
            other joints of either pose has no influence on it.

    Shapes:
        pred and target ``[*, J, C]``, C = 3 (or 2), visible Bool ``[*, J]`` -> ``[*, J, C]``

    Units:
        The result is in the frame and unit of ``target`` (metres).

    Raises:
        TypeError: If the poses are not both float32 or both float64, or ``visible`` not bool.
        ValueError: If a shape does not fit.

    Example:
        >>> import torch
        >>> from handgraph.metrics import procrustes_align
        >>> target = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        >>> turned = 3 * target[:, [1, 0, 2]] * torch.tensor([1.0, -1, 1]) + 5
        >>> torch.allclose(procrustes_align(turned, target), target, atol=1e-6)
        True
    """
    check_poses(pred, target)
    mask = joint_mask(visible, pred[..., 0]).unsqueeze(-1)
    source, source_mean = _centre(pred, mask)
    goal, goal_mean = _centre(target, mask)
    noise = _noise(_rounding(pred, source, mask), _rounding(target, goal, mask), pred.shape[-2])
    rotation, trace, defined = _best_rotation(source, goal, noise)
    spread = torch.where(defined, source.square().sum((-2, -1)), 1)
    scale = torch.where(defined, trace / spread, torch.nan)[..., None, None]
    return scale * _product(pred - source_mean, rotation) + goal_mean


def scale_align(pred: Tensor, target: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Multiply each predicted pose by the number that fits it best to its target.

    The s that minimises :math:`\sum_j v_j \lVert s x_j - y_j \rVert^2`, for poses relative to one
    joint whose scale is unknown: without rotation and shift, which
    :func:`handgraph.metrics.procrustes_align` fits too.

    Args:
        pred: Poses to scale.
        target: What they are compared with.
        visible: Which joints the scale is fitted to; ``None``: all.

    Shapes:
        pred and target ``[*, J, C]``, C = 3 (or 2), visible Bool ``[*, J]`` -> ``[*, J, C]``

    Units:
        The result is in the unit of ``target``. NaN if all visible joints of a pose are at 0.

    Raises:
        TypeError: If the poses are not both float32 or both float64, or ``visible`` not bool.
        ValueError: If a shape does not fit.

    Example:
        >>> import torch
        >>> from handgraph.metrics import scale_align
        >>> target = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        >>> torch.allclose(scale_align(3 * target, target), target)
        True
    """
    check_poses(pred, target)
    mask = joint_mask(visible, pred[..., 0]).unsqueeze(-1)
    source, goal = torch.where(mask, pred, 0), torch.where(mask, target, 0)
    scale = (source * goal).sum((-2, -1)) / source.square().sum((-2, -1))
    return scale[..., None, None] * pred


def _centre(points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Shift the masked points to mean zero; the others become zero. Also the mean."""
    kept = torch.where(mask, points, 0)
    mean = kept.sum(-2, keepdim=True) / mask.sum(-2, keepdim=True).clamp(min=1)
    return torch.where(mask, kept - mean, 0), mean


def _rounding(points: Tensor, centred: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How far rounding may have moved a centred coordinate, and the largest of these. ``[*]``."""
    size = torch.where(mask, points, 0).abs().amax((-2, -1))
    return torch.finfo(points.dtype).eps * size, centred.abs().amax((-2, -1))


def _noise(source: tuple[Tensor, Tensor], goal: tuple[Tensor, Tensor], num_joints: int) -> Tensor:
    """Bound the singular values that rounding alone gives a covariance. ``[*]``."""
    return 4 * num_joints * (source[0] * goal[1] + source[1] * goal[0])


def _best_rotation(source: Tensor, goal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rotation (for row vectors), the trace that the scale needs, and whether it is unique."""
    covariance = _product(source.mT, goal)
    finite = torch.isfinite(covariance).all(-1).all(-1)
    u, singular, vh = torch.linalg.svd(torch.where(finite[..., None, None], covariance, 0))
    sign = torch.linalg.det(_product(u, vh)).sign().detach()
    signs = torch.cat([torch.ones_like(singular[..., 1:]), sign.unsqueeze(-1)], dim=-1)
    proper = singular * signs
    defined = finite & (proper[..., -2:].sum(-1) > noise)
    return _product(u * signs.unsqueeze(-2), vh), proper.sum(-1), defined


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` in full precision: no autocast and no TF32, which a matmul would follow."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)
