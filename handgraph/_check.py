"""What geometry and losses check before they compute: shapes, joint counts, dtypes."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.skeleton import Skeleton


def check_floating(tensor: Tensor, name: str) -> None:
    """Raise unless ``tensor`` is floating point."""
    if not torch.is_floating_point(tensor):
        raise TypeError(f"expected {name} to be floating point, got {tensor.dtype}")


def check_points(points: Tensor, channels: int, name: str) -> None:
    """Raise unless ``points`` is a floating-point ``[*, J, channels]`` tensor."""
    check_floating(points, name)
    if points.ndim < 2 or points.shape[-1] != channels:
        raise ValueError(f"expected {name} of shape [*, J, {channels}], got {list(points.shape)}")


def check_hand(xyz: Tensor, skeleton: Skeleton) -> None:
    """Raise unless ``xyz`` is ``[*, J, 3]`` with as many joints as the skeleton."""
    check_points(xyz, 3, "xyz")
    if xyz.shape[-2] != skeleton.num_joints:
        raise ValueError(
            f"expected xyz with the {skeleton.num_joints} joints of skeleton {skeleton.name!r}, "
            f"got {xyz.shape[-2]} joints: {list(xyz.shape)}"
        )


def check_shape(value: Tensor, shape: torch.Size, like: Tensor, name: str) -> None:
    """Raise unless ``value`` has exactly this shape, and the dtype of ``like``."""
    if value.dtype != like.dtype:
        raise TypeError(
            f"expected {name} of {like.dtype} like the rest of the input, got {value.dtype}"
        )
    if value.shape != shape:
        raise ValueError(f"expected {name} of shape {list(shape)}, got {list(value.shape)}")


def check_matrix(matrix: Tensor, points: Tensor, name: str) -> None:
    """Raise unless ``matrix`` is ``[3, 3]``, or has the leading dims of the points."""
    if matrix.dtype != points.dtype:
        raise TypeError(
            f"expected {name} of {points.dtype} like the rest of the input, got {matrix.dtype}"
        )
    lead = list(points.shape[:-2])
    if list(matrix.shape) not in ([*lead, 3, 3], [3, 3]):
        raise ValueError(
            f"expected {name} of shape {[*lead, 3, 3]} (one a sample) or [3, 3] (one for all), "
            f"got {list(matrix.shape)}"
        )


def check_mask(mask: Tensor, shape: torch.Size) -> None:
    """Raise unless ``mask`` is bool and has exactly this shape."""
    if mask.dtype != torch.bool:
        raise TypeError(f"expected a mask of torch.bool, got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"expected mask of shape {list(shape)}, got {list(mask.shape)}")


def check_positive(value: float, name: str) -> None:
    """Raise unless ``value`` is a positive, finite number."""
    if not 0 < value < float("inf"):
        raise ValueError(f"expected {name} to be positive and finite, got {value}")
