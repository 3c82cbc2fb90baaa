"""Depth of the root of a lifted pose, from its 2D joints and the keybone length."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_like, check_points
from handgraph.geometry import back_project
from handgraph.geometry.plane import product
from handgraph.hub.to_camera import column, view_axes


def fit_root_depth(pose: Tensor, uv: Tensor, K: Tensor, *, keybone: Tensor | float) -> Tensor:
    r"""Estimate the depth of the root from the pose, the 2D joints and the keybone length.

    :func:`to_camera` needs this depth.

    Joint j lies at :math:`x_j + t`, with :math:`x_j` its offset from the root in the camera frame
    and t the position of the root. It lies on the ray :math:`(a_j, b_j, 1) = K^{-1} (u_j, v_j,
    1)`, so :math:`t_x - a_j t_z = a_j z_j - x_j` and :math:`t_y - b_j t_z = b_j z_j - y_j`. The
    least-squares solution over all detected joints is

    .. math::
        t_z = -\frac{\sum_j (a_j - \bar a)(r_j - \bar r) + (b_j - \bar b)(q_j - \bar q)}
        {\sum_j (a_j - \bar a)^2 + (b_j - \bar b)^2}

    where :math:`r_j = a_j z_j - x_j`, :math:`q_j = b_j z_j - y_j`, and bars denote means. A
    relative error of the keybone length causes the same relative error of the depth.

    Args:
        pose: Output of :class:`KeypointLifter` for ``uv``.
        uv: Input of the lifter, NaN where a joint is missing.
        K: Intrinsic matrix of the camera.
        keybone: Length of the keybone (``HAND``: middle_mcp to middle_pip); 0.047 for an adult.

    Shapes:
        pose ``[*, J, 3]``, uv ``[*, J, 2]``, K ``[*, 3, 3]`` or ``[3, 3]``; keybone a number or
        ``[*]``; output ``[*]``, NaN with fewer than two detected joints.

    Units:
        pose in keybone lengths; uv and K in pixels, (u, v) order; keybone and output in metres.

    Raises:
        TypeError: If pose or uv are not floating point, or differ in dtype.
        ValueError: If a shape does not fit.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.hub import fit_root_depth, lifting_target
        >>> hand = SyntheticHands(1, seed=7)[0]
        >>> pose = lifting_target(hand.xyz, hand.uv_true, hand.K[0], keybone=hand.s[0])
        >>> depth = fit_root_depth(pose, hand.uv_true, hand.K[0], keybone=hand.s[0])
        >>> bool((depth / hand.xyz[0, 2] - 1).abs() < 1e-4)
        True
    """
    check_points(pose, "pose", 3)
    check_like(uv, "uv", pose[..., :2], "pose")
    axes, detected = view_axes(uv, K)
    offset = column("keybone", keybone, pose) * product(pose, axes)
    mask = detected.unsqueeze(-1)
    rays = back_project(uv.where(mask, 0), torch.ones_like(uv[..., 0]), K)[..., :2]
    right = rays * offset[..., 2:] - offset[..., :2]
    rays, right = (_centred(values, mask) for values in (rays, right))
    depth: Tensor = -(rays * right).sum(dim=(-2, -1)) / rays.square().sum(dim=(-2, -1))
    return depth


def _centred(values: Tensor, detected: Tensor) -> Tensor:
    """Subtract the mean over the detected joints; missing joints become 0."""
    mean = values.where(detected, 0).sum(dim=-2, keepdim=True) / detected.sum(dim=-2, keepdim=True)
    return (values - mean).where(detected, 0)
