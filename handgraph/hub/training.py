"""Target and loss of lifters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from handgraph._check import check_joints, check_like, check_mask, check_points, check_skeleton
from handgraph.geometry.plane import product
from handgraph.hub.estimate import Estimate
from handgraph.hub.to_camera import column, view_axes
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

SCALE = 0.3
"""Scale of the distances of a mixture, in keybone lengths."""

WEIGHT = 0.05
"""Weight of the terms of error and visibility."""


def lifting_target(
    xyz: Tensor, uv: Tensor, K: Tensor, *, keybone: Tensor | float, skeleton: Skeleton = HAND
) -> Tensor:
    r"""Return the pose that :class:`KeypointLifter` should output.

    This is the inverse of :func:`to_camera`. The pose is :math:`R (x_j - x_{root}) / s`, with R the
    rotation to the view frame of the detected joints (:func:`handgraph.geometry.view_rotation`) and
    s the keybone length.

    Args:
        xyz: Joints in the camera frame.
        uv: Input of the lifter, NaN where a joint is missing.
        K: Intrinsic matrix of the camera.
        keybone: Length of the keybone.
        skeleton: Skeleton of the joints, with a root.

    Shapes:
        xyz ``[*, J, 3]``, uv ``[*, J, 2]``, K ``[*, 3, 3]`` or ``[3, 3]``; keybone a number or
        ``[*]``; output ``[*, J, 3]``.

    Units:
        xyz and keybone in metres; uv and K in pixels, (u, v) order; output in keybone lengths.

    Raises:
        TypeError: If xyz or uv are not floating point, differ in dtype, or ``skeleton`` is not a
            skeleton.
        ValueError: If a shape does not fit, or the skeleton has no root.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.hub import lifting_target, to_camera
        >>> hand = SyntheticHands(1, seed=7)[0]
        >>> K, s = hand.K[0], hand.s[0]
        >>> pose = lifting_target(hand.xyz, hand.uv_true, K, keybone=s)
        >>> xyz = to_camera(pose, hand.uv_true, K, keybone=s, root_depth=hand.xyz[0, 2])
        >>> bool((xyz - hand.xyz).abs().max() < 1e-5)
        True
    """
    check_points(xyz, "xyz", 3)
    check_like(uv, "uv", xyz[..., :2], "xyz")
    check_skeleton(skeleton, "lifting_target")
    check_joints(xyz, "xyz", skeleton)
    if skeleton.root is None:
        raise ValueError(f"lifting_target: expected a skeleton with a root, got {skeleton.name}")
    axes, _ = view_axes(uv, K)
    root = skeleton.index(skeleton.root)
    offset = product(xyz - xyz[..., [root], :], axes.mT)
    return offset / column("keybone", keybone, xyz)


def lifter_loss(found: Estimate, target: Tensor, visible: Tensor) -> Tensor:
    r"""Compute the loss of poses, expected errors and visibilities of :class:`KeypointLifter`.

    The pose loss :math:`-b \log \sum_k w_k e^{-d_k / b}` is the scaled negative log-likelihood of a
    mixture, with :math:`d_k` the mean distance of the joints of hypothesis k, :math:`w_k` its
    weight and b = 0.3 keybone lengths. For one hypothesis, it is :math:`d_1`. Two terms with weight
    0.05 train the other outputs: :math:`r / e + \log e`, minimal if the expected error e is the
    mean of the distance r of the likeliest pose, and the cross-entropy of the visibility. 1e-6 is
    added to squared distances, since the distance of the root is always 0.

    Args:
        found: Output of :meth:`KeypointLifter.estimate`.
        target: Output of :func:`lifting_target`.
        visible: True for the joints that are visible in the image.

    Shapes:
        target ``[*, J, 3]``, visible Bool ``[*, J]``; output ``[]``, the mean.

    Units:
        target in keybone lengths.

    Raises:
        TypeError: If target has another dtype than the estimate, or visible is not bool.
        ValueError: If a shape does not fit.

    Example:
        >>> import torch
        >>> from handgraph.hub import KeypointLifter, lifter_loss
        >>> found = KeypointLifter().estimate(torch.rand(8, 21, 2))
        >>> visible = torch.ones(8, 21, dtype=torch.bool)
        >>> near, far = (lifter_loss(found, found.pose + shift, visible) for shift in (0.0, 1.0))
        >>> bool(near < far)
        True
    """
    check_like(target, "target", found.pose, "the estimate")
    check_mask(visible, "visible", found.pose.shape[:-1], found.pose)
    apart = _lengths(found.hypotheses - target.unsqueeze(-3)).mean(dim=-1)
    pose = -SCALE * torch.logsumexp(found.weights.clamp(min=1e-9).log() - apart / SCALE, dim=-1)
    distance = _lengths(found.pose - target).detach()
    error = distance / found.error + found.error.log()
    seen = binary_cross_entropy(found.visible, visible.to(found.visible))
    return pose.mean() + WEIGHT * error.mean() + WEIGHT * seen


def _lengths(vectors: Tensor) -> Tensor:
    """Return lengths above 0: a length of 0 has no logarithm and no gradient."""
    return vectors.square().sum(dim=-1).add(1e-6).sqrt()
