"""Alignment of poses by rotation, scale and translation (Procrustes), or by scale only."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.geometry.plane import product
from handgraph.metrics._check import check_poses, joint_mask


def procrustes_align(pred: Tensor, target: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Align each predicted pose with its target by the best similarity transform.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
    (1991): the scale s > 0, rotation R (det R = 1) and translation t that minimise :math:`\sum_j
    v_j \lVert s R x_j + t - y_j \rVert^2`.

    The transform is fitted to the visible joints and applied to all joints. The output is NaN if
    the transform is undetermined: fewer than three joints are visible, the visible joints of either
    pose lie on a line or in a point, two reflections fit equally well, or a visible joint is not
    finite. In 2D, two joints or a line are enough, and two joints fit exactly. Gradients are those
    of the SVD.

    Args:
        pred: Poses to align.
        target: Poses to align to.
        visible: Joints to fit the transform to. Default: all. Other joints of either pose do not
            affect the transform.

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
    return scale * product(pred - source_mean, rotation) + goal_mean


def scale_align(pred: Tensor, target: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Scale each predicted pose to fit its target best.

    The scale s minimises :math:`\sum_j v_j \lVert s x_j - y_j \rVert^2`. Use it for root-relative
    poses of unknown scale. :func:`handgraph.metrics.procrustes_align` also fits rotation and
    translation.

    Args:
        pred: Poses to scale.
        target: Poses to fit.
        visible: Joints to fit the scale to. Default: all.

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
    """Centre the masked points at zero, set the others to zero, and return the mean as well."""
    kept = torch.where(mask, points, 0)
    mean = kept.sum(-2, keepdim=True) / mask.sum(-2, keepdim=True).clamp(min=1)
    return torch.where(mask, kept - mean, 0), mean


def _rounding(points: Tensor, centred: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rounding error of centred coordinates, and the largest of these, ``[*]``."""
    size = torch.where(mask, points, 0).abs().amax((-2, -1))
    return torch.finfo(points.dtype).eps * size, centred.abs().amax((-2, -1))


def _noise(source: tuple[Tensor, Tensor], goal: tuple[Tensor, Tensor], num_joints: int) -> Tensor:
    """Bound the singular values of a covariance that are due to rounding, ``[*]``."""
    return 4 * num_joints * (source[0] * goal[1] + source[1] * goal[0])


def _best_rotation(source: Tensor, goal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rotation (for row vectors), the trace for the scale, and whether it is unique."""
    covariance = product(source.mT, goal)
    finite = torch.isfinite(covariance).all(-1).all(-1)
    u, singular, vh = torch.linalg.svd(torch.where(finite[..., None, None], covariance, 0))
    sign = torch.linalg.det(product(u, vh)).sign().detach()
    signs = torch.cat([torch.ones_like(singular[..., 1:]), sign.unsqueeze(-1)], dim=-1)
    proper = singular * signs
    defined = finite & (proper[..., -2:].sum(-1) > noise)
    return product(u * signs.unsqueeze(-2), vh), proper.sum(-1), defined
