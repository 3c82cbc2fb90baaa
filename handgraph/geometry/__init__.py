"""Geometry of hands: keybone, relative depth (Eq. 1), camera, crop and mirroring.

Every function takes tensors with any batch dimensions, preserves dtype and device, and is
differentiable. Points are ``[*, J, 3]`` in the camera frame (x right, y down, z forward) or
``[*, J, 2]`` in pixels, (u, v) order (u right, v down; integers are pixel centres).
"""

from handgraph.geometry.camera import back_project, camera_to_uvd, project, uvd_to_camera
from handgraph.geometry.crop import crop_matrix, denormalize_uv, normalize_uv
from handgraph.geometry.depth import absolute_depth, keybone_length, relative_depth
from handgraph.geometry.mirror import mirror_hand, mirror_matrix
from handgraph.geometry.plane import transform_intrinsics, transform_points
from handgraph.geometry.view import view_rotation
from handgraph.geometry.warp import warp_image

__all__ = [
    "absolute_depth",
    "back_project",
    "camera_to_uvd",
    "crop_matrix",
    "denormalize_uv",
    "keybone_length",
    "mirror_hand",
    "mirror_matrix",
    "normalize_uv",
    "project",
    "relative_depth",
    "transform_intrinsics",
    "transform_points",
    "uvd_to_camera",
    "view_rotation",
    "warp_image",
]
