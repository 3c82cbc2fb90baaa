"""Conversion of lifted poses to metres in the camera frame."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from handgraph._check import check_choice, check_joints, check_like, check_points, check_skeleton
from handgraph._convert import to_tensor
from handgraph.geometry import back_project, view_rotation
from handgraph.geometry.plane import product
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND


def to_camera(
    pose: Tensor,
    uv: Tensor,
    K: Tensor,
    *,
    keybone: Tensor | float,
    root_depth: Tensor | float,
    reading: Literal["rays", "direct"] = "rays",
    skeleton: Skeleton = HAND,
) -> Tensor:
    r"""Convert poses of :class:`KeypointLifter` to the camera frame, in metres.

    The pose is rotated from the view frame to the camera frame
    (:func:`handgraph.geometry.view_rotation`). The offset of joint j from the root is :math:`s
    p_j`, with s the keybone length. ``"direct"`` places the root on the ray through its pixel at
    depth :math:`z_r`, and adds the offsets. ``"rays"`` uses only the depths of the pose, as the
    paper does (section 3.1): joint j lies at :math:`(z_r + s p_{j,z}) K^{-1} (u_j, v_j, 1)`. Rays
    are more exact if detections are accurate. Missing joints (NaN in uv) are always placed
    directly. If the root is missing, its position is the mean estimate from the other joints' rays.

    Args:
        pose: Output of the lifter for ``uv``.
        uv: Input of the lifter, NaN where a joint is missing.
        K: Intrinsic matrix of the camera.
        keybone: Length of the keybone (``HAND``: middle_mcp to middle_pip).
        root_depth: Depth of the root, z in the camera frame.
        reading: ``"rays"`` or ``"direct"``.
        skeleton: Skeleton of the joints, with a root.

    Shapes:
        pose ``[*, J, 3]``, uv ``[*, J, 2]``, K ``[*, 3, 3]`` or ``[3, 3]``; keybone and root_depth
        numbers or ``[*]``; output ``[*, J, 3]``.

    Units:
        pose in keybone lengths; uv and K in pixels, (u, v) order; keybone, root_depth and output in
        metres (x right, y down, z forward). A singular K gives NaN.

    Raises:
        TypeError: If pose or uv are not floating point, pose, uv and K differ in dtype, or keybone
            or root_depth is not a number.
        ValueError: If a shape does not fit, the skeleton has no root, or ``reading`` is unknown.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.hub import pretrained_lifter, to_camera
        >>> hand = SyntheticHands(1, seed=7)[0]
        >>> pose = pretrained_lifter()(hand.uv)
        >>> depth = hand.xyz[0, 2]
        >>> xyz = to_camera(pose, hand.uv, hand.K[0], keybone=hand.s[0], root_depth=depth)
        >>> bool((xyz - hand.xyz).norm(dim=-1).mean() < 0.05)
        True
    """
    check_points(pose, "pose", 3)
    check_like(uv, "uv", pose[..., :2], "pose")
    check_skeleton(skeleton, "to_camera")
    check_joints(pose, "pose", skeleton)
    if skeleton.root is None:
        raise ValueError(f"to_camera: expected a skeleton with a root, got {skeleton.name}")
    check_choice(reading, "reading", "rays", "direct")
    axes, detected = view_axes(uv, K)
    metres, depth = column("keybone", keybone, pose), column("root_depth", root_depth, pose)
    offset = metres * product(pose, axes)
    by_rays = back_project(uv, (depth + offset[..., 2:]).squeeze(-1), K)
    root = skeleton.index(skeleton.root)
    root_position = (by_rays - offset).nanmean(dim=-2, keepdim=True)
    direct = by_rays[..., [root], :].where(detected[..., [root], None], root_position) + offset
    return direct if reading == "direct" else by_rays.where(detected.unsqueeze(-1), direct)


def view_axes(uv: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Return the axes of the view of the detected joints, and which joints are detected."""
    detected = ~uv.isnan().any(dim=-1)
    return view_rotation(uv.where(detected.unsqueeze(-1), 0), K, mask=detected), detected


def column(name: str, value: Tensor | float, pose: Tensor) -> Tensor:
    """Return a value for each hand, as ``[*, 1, 1]``."""
    tensor = to_tensor(value, name).to(pose)
    lead = pose.shape[:-2]
    if tensor.ndim and tensor.shape != lead:
        raise ValueError(
            f"expected {name} as a number or of shape {list(lead)}, one for each hand, "
            f"got {list(tensor.shape)}"
        )
    return tensor[..., None, None]
