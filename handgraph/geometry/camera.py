"""The pinhole camera: projection, back-projection, and the (u, v, d) target of the network."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_like, check_matrix, check_points
from handgraph.geometry.depth import (
    KEYBONE,
    absolute_depth,
    keybone_length,
    relative_depth,
    root_index,
)
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND


def project(xyz: Tensor, K: Tensor) -> Tensor:
    r"""Project points to pixels of a pinhole camera.

    :math:`w (u, v, 1)^T = K (x, y, z)^T`. Points that are not in front of the camera (z <= 0) give
    NaN.

    Args:
        xyz: Points in the camera frame.
        K: Camera matrices, one for each sample or one for all.

    Shapes:
        xyz ``[*, J, 3]``, K ``[*, 3, 3]`` or ``[3, 3]`` -> ``[*, J, 2]``.

    Units:
        xyz in any unit (metres), camera frame -> pixels, (u, v) order.

    Raises:
        TypeError: If xyz is not floating point, or the dtypes differ.
        ValueError: If a last dimension is wrong or the leading dimensions differ.

    Example:
        >>> import torch
        >>> from handgraph.geometry import project
        >>> K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
        >>> project(torch.tensor([[0.1, -0.05, 0.5]]), K).tolist()
        [[220.0, 130.0]]
    """
    check_points(xyz, "xyz", 3)
    check_matrix(K, "K", xyz)
    front = xyz[..., 2:] > 0
    xyz = torch.where(front, xyz, 1)  # avoids 0 / 0, whose gradient is NaN
    # Products and sums: a matmul under autocast or TF32 would round pixels to integers.
    image = (K.unsqueeze(-3) * xyz.unsqueeze(-2)).sum(dim=-1)
    return torch.where(front, image[..., :2] / image[..., 2:], torch.nan)


def back_project(uv: Tensor, depth: Tensor, K: Tensor) -> Tensor:
    r"""Compute points of given depth on the rays through pixels, the inverse of :func:`project`.

    :math:`(x, y, z)^T = z K^{-1} (u, v, 1)^T`, also for a camera matrix after a crop (``A K``).
    For a singular K, x and y are not finite. A negative depth gives a point behind the camera, for
    which :func:`project` returns NaN.

    Args:
        uv: Pixels.
        depth: Depth z of each point.
        K: Camera matrices, one for each sample or one for all.

    Shapes:
        uv ``[*, J, 2]``, depth ``[*, J]``, K ``[*, 3, 3]`` or ``[3, 3]`` -> ``[*, J, 3]``.

    Units:
        uv in pixels, (u, v) order; depth in any unit (metres) -> the same unit, camera frame.

    Raises:
        TypeError: If uv is not floating point, or the dtypes differ.
        ValueError: If a last dimension is wrong or the leading dimensions differ.

    Example:
        >>> import torch
        >>> from handgraph.geometry import back_project
        >>> K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
        >>> xyz = back_project(torch.tensor([[220.0, 130.0]]), torch.tensor([0.5]), K)
        >>> [round(value, 4) for value in xyz[0].tolist()]
        [0.1, -0.05, 0.5]
    """
    check_points(uv, "uv", 2)
    check_like(depth, "depth", uv[..., 0], "uv")
    check_matrix(K, "K", uv)
    # At least single precision: the product of two focal lengths overflows float16.
    rows = K.unsqueeze(-3).to(torch.promote_types(K.dtype, torch.float32))
    # The ray is the intersection of two planes: the points of column u and of row v.
    column = rows[..., 0, :] - uv[..., :1] * rows[..., 2, :]
    row = rows[..., 1, :] - uv[..., 1:] * rows[..., 2, :]
    ray = torch.linalg.cross(column, row)
    z = depth.unsqueeze(-1)
    xy: Tensor = ray[..., :2] / ray[..., 2:] * z
    return torch.cat([xy.to(z.dtype), z], dim=-1)


def camera_to_uvd(
    xyz: Tensor, K: Tensor, skeleton: Skeleton = HAND, bone: tuple[str, str] = KEYBONE
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute pixels and relative depth of each joint, and the scale and root depth.

    This is the target of the paper's network: Eq. 1 and :func:`project`. For a crop, pass ``A K``
    (:func:`transform_intrinsics`). A joint behind the camera has NaN pixels. A keybone of length
    zero gives NaN depths for the whole sample.

    Args:
        xyz: Joints in the camera frame, in the order of the skeleton.
        K: Camera matrices, one for each sample or one for all.
        skeleton: Skeleton of the joints, with a root.
        bone: Names of the two joints of the keybone.

    Shapes:
        xyz ``[*, J, 3]``, K ``[*, 3, 3]`` or ``[3, 3]`` -> uvd ``[*, J, 3]``, scale ``[*]``,
        root_depth ``[*]``.

    Units:
        xyz, scale and root_depth in one unit (metres), camera frame; u, v in pixels; d in keybone
        lengths.

    Raises:
        TypeError: If xyz is not floating point, or the dtypes differ.
        ValueError: If a shape or the joint count is wrong, a name is unknown, or the skeleton has
            no root.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.geometry import camera_to_uvd
        >>> K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
        >>> xyz = torch.tensor([0.0, 0.0, 0.5]).repeat(21, 1)
        >>> xyz[HAND.index("middle_pip")] = torch.tensor([0.0, 0.03, 0.54])
        >>> uvd, scale, root_depth = camera_to_uvd(xyz, K)
        >>> [round(value, 3) for value in uvd[HAND.index("middle_pip")].tolist()]
        [160.0, 176.667, 0.8]
    """
    root = root_index(skeleton)
    scale = keybone_length(xyz, skeleton, bone)
    uv = project(xyz, K)
    d = relative_depth(xyz, scale, skeleton)
    return torch.cat([uv, d.unsqueeze(-1)], dim=-1), scale, xyz[..., root, 2]


def uvd_to_camera(uvd: Tensor, K: Tensor, scale: Tensor, root_depth: Tensor) -> Tensor:
    """Compute joints in the camera frame, the inverse of :func:`camera_to_uvd`.

    Scale, root depth and K are known (the paper's section 3.1). For a crop, pass ``A K``
    (:func:`transform_intrinsics`). A scale that is not positive gives NaN for the whole sample.

    Args:
        uvd: Pixels and relative depth of each joint.
        K: Camera matrices, one for each sample or one for all.
        scale: Keybone length of each sample.
        root_depth: Depth of the root joint of each sample.

    Shapes:
        uvd ``[*, J, 3]``, K ``[*, 3, 3]`` or ``[3, 3]``, scale ``[*]``, root_depth ``[*]`` ->
        ``[*, J, 3]``.

    Units:
        u, v in pixels, d in keybone lengths; scale, root_depth and the result in one unit
        (metres), camera frame.

    Raises:
        TypeError: If uvd is not floating point, or the dtypes differ.
        ValueError: If a last dimension is wrong or the leading dimensions differ.

    Example:
        >>> import torch
        >>> from handgraph.geometry import uvd_to_camera
        >>> K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
        >>> uvd = torch.tensor([[220.0, 130.0, 0.0]])
        >>> xyz = uvd_to_camera(uvd, K, scale=torch.tensor(0.03), root_depth=torch.tensor(0.5))
        >>> [round(value, 4) for value in xyz[0].tolist()]
        [0.1, -0.05, 0.5]
    """
    check_points(uvd, "uvd", 3)
    return back_project(uvd[..., :2], absolute_depth(uvd[..., 2], scale, root_depth), K)
