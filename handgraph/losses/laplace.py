"""Negative log likelihood of poses with predicted uncertainty."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from handgraph._check import check_device, check_floating, check_mask
from handgraph.losses._check import check_prediction


def laplace_loss(
    pose: Tensor, target: Tensor, log_scale: Tensor, *, mask: Tensor | None = None
) -> Tensor:
    r"""Compute the negative log likelihood under Laplace distributions centred at the pose.

    Kendall and Gal, "What uncertainties do we need in Bayesian deep learning for computer vision?"
    (2017), in its Laplace form: with the predicted log-scale :math:`s_{ic} = \log b_{ic}`,

    .. math:: L = \sum_{i, c} |x_{ic} - \hat x_{ic}| \, e^{-s_{ic}} + s_{ic} + \log 2

    over joints i and coordinates c, averaged over samples. A larger scale reduces the loss of large
    errors; the optimal scale is the expected :math:`|x - \hat x|`. The scales also balance pixels
    and depths, so alpha and beta of Eq. 3 are not needed. For branches, pass ``split(target)`` with
    their :class:`~handgraph.nn.SubgraphMask`; the mean is then over samples and branches.

    Args:
        pose: Predicted coordinates of each joint.
        target: Ground-truth coordinates of each joint.
        log_scale: Predicted log-scales, one per coordinate or one per joint. One per joint requires
            the same unit in all coordinates.
        mask: ``True`` for the joints in the loss; default: all joints. Pass ``False`` for padding
            of ragged branches. The mean includes samples whose joints are all ``False``.

    Shapes:
        pose and target ``[*, J, C]``, log_scale ``[*, J, C]`` or ``[*, J, 1]``, mask Bool
        ``[*, J]`` -> ``[]``.

    Units:
        log_scale is the natural logarithm of a length in the unit of its coordinate: pixels of the
        crop for u and v, keybone lengths for d. The loss is in nats and may be negative. No value
        is clipped: log-scales from -70 to 70 with errors up to 1000 are safe in float32. Beyond
        that, the loss overflows to infinity or NaN.

    Raises:
        TypeError: If a tensor is not floating point, or the mask is not bool.
        ValueError: If the shapes differ or are not ``[*, J, C]``, or log_scale has a shape that
            is not listed above.

    Example:
        >>> import torch
        >>> from handgraph.losses import laplace_loss
        >>> pose, target = torch.full((8, 21, 3), 2.0), torch.zeros(8, 21, 3)
        >>> sure, right = torch.zeros(8, 21, 3), torch.full((8, 21, 3), 2.0).log()
        >>> round(laplace_loss(pose, target, sure).item(), 2)  # 63 * (2 + log 2)
        169.67
        >>> round(laplace_loss(pose, target, right).item(), 2)  # 63 * (1 + log 4)
        150.34
    """
    check_prediction(pose, "pose", target)
    _check_log_scale(log_scale, pose)
    counts = torch.ones_like(pose[..., 0], dtype=torch.bool) if mask is None else mask
    check_mask(counts, "mask", pose.shape[:-1], pose)
    counts = counts.unsqueeze(-1)
    error = torch.where(counts, pose - target, 0).abs()
    scale = torch.where(counts, log_scale, 0)
    losses = torch.where(counts, error * (-scale).exp() + scale + math.log(2), 0)
    return losses.sum(dim=(-2, -1)).mean()


def _check_log_scale(log_scale: Tensor, pose: Tensor) -> None:
    check_floating(log_scale, "log_scale")
    check_device(log_scale, "log_scale", pose)
    if pose.ndim < 2:
        raise ValueError(f"expected poses [*, J, C], got {list(pose.shape)}")
    one, each = [*pose.shape[:-1], 1], list(pose.shape)
    if list(log_scale.shape) not in (one, each):
        raise ValueError(
            f"expected log_scale {each} (one per coordinate) or {one} (one per joint), "
            f"got {list(log_scale.shape)}"
        )
