"""Checks of arguments: types, dtypes, devices, shapes and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph.skeleton import Skeleton


def check_tensor(value: object, name: str, like: Tensor | None = None) -> None:
    """Raise unless ``value`` is a tensor on the device of ``like``; suggest a conversion."""
    if isinstance(value, Tensor):
        if like is not None:
            check_device(value, name, like)
        return
    remedy = ""
    if isinstance(value, Data):
        remedy = ": call handgraph.nn.to_dense(data, skeleton)"
    elif isinstance(value, np.ndarray):
        remedy = ": call torch.from_numpy"
    elif isinstance(value, list | tuple | float | int):
        remedy = ": call torch.tensor"
    raise TypeError(f"expected {name} as torch.Tensor, got {type(value).__name__}{remedy}")


def check_device(value: Tensor, name: str, like: Tensor) -> None:
    """Raise unless ``value`` is on the device of ``like``."""
    if value.device != like.device:
        raise ValueError(
            f"expected {name} on {like.device} like the rest of the input, got {value.device}: "
            f"call .to(device)"
        )


def check_skeleton(value: object, name: str) -> None:
    """Raise unless ``value`` is a skeleton."""
    if not isinstance(value, Skeleton):
        raise TypeError(f"{name}: expected a Skeleton, such as HAND, got {type(value).__name__}")


LARGEST = 2**31 - 1
"""Largest size or count."""


def check_integer(value: object, name: str) -> None:
    """Raise unless ``value`` is an integer."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"expected {name} as int, got {type(value).__name__}")


def check_whole(**sizes: int) -> None:
    """Raise unless all sizes are integers of at most :data:`LARGEST`."""
    for name, value in sizes.items():
        check_integer(value, name)
        if value > LARGEST:
            raise ValueError(f"expected {name} to be at most {LARGEST}, got {value}")


def check_count(value: int, name: str, low: int, high: int = LARGEST) -> None:
    """Raise unless ``value`` is an integer from ``low`` to ``high``."""
    check_integer(value, name)
    if not low <= value <= high:
        limit = f"at least {low}" if value < low and high == LARGEST else f"from {low} to {high}"
        raise ValueError(f"expected {name} to be {limit}, got {value}")


def check_sizes(layer: str, **sizes: int) -> None:
    """Raise unless all sizes are positive."""
    check_whole(**sizes)
    if min(sizes.values()) < 1:
        found = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"{layer}: expected positive sizes, got {found}")


def check_sides(size: int | Sequence[int], name: str) -> tuple[int, int]:
    """Return ``size`` as (height, width), and raise unless both are positive integers."""
    sides = size if isinstance(size, Sequence) and not isinstance(size, str) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"expected {name} to be an int or (height, width), got {size}")
    height, width = sides
    check_count(height, name, 1)
    check_count(width, name, 1)
    return height, width


def check_floating(tensor: Tensor, name: str) -> None:
    """Raise unless ``tensor`` is floating point."""
    check_tensor(tensor, name)
    if not torch.is_floating_point(tensor):
        raise TypeError(f"expected {name} to be floating point, got {tensor.dtype}")


def check_points(points: Tensor, name: str, channels: int) -> None:
    """Raise unless ``points`` is a floating-point ``[*, J, channels]`` tensor."""
    check_floating(points, name)
    if points.ndim < 2 or points.shape[-1] != channels:
        raise ValueError(f"expected {name} of shape [*, J, {channels}], got {list(points.shape)}")


def check_hand(xyz: Tensor, skeleton: Skeleton) -> None:
    """Raise unless ``xyz`` is ``[*, J, 3]`` with as many joints as the skeleton."""
    check_skeleton(skeleton, "skeleton")
    check_points(xyz, "xyz", 3)
    if xyz.shape[-2] != skeleton.num_joints:
        raise ValueError(
            f"expected xyz with the {skeleton.num_joints} joints of skeleton {skeleton.name!r}, "
            f"got {xyz.shape[-2]} joints: {list(xyz.shape)}"
        )


def check_joints(x: Tensor, name: str, skeleton: Skeleton, like: Tensor | None = None) -> None:
    """Raise unless ``x`` is ``[*, J, C]`` for the skeleton, on the device of ``like``."""
    check_tensor(x, name, like)
    joints = skeleton.num_joints
    if x.dim() < 2 or x.shape[-2] != joints:
        found = "" if x.dim() < 2 else f"{x.shape[-2]} joints: "
        raise ValueError(
            f"{name}: expected [*, {joints}, C] for the {joints} joints of {skeleton.name}, "
            f"got {found}{list(x.shape)}"
        )


def check_dtype(value: Tensor, name: str, like: Tensor, like_name: str) -> None:
    """Raise unless ``value`` has the dtype of ``like``."""
    if value.dtype != like.dtype:
        raise TypeError(
            f"expected {name} in the dtype of {like_name}, {like.dtype}, got {value.dtype}"
        )


def check_shape(
    value: Tensor,
    name: str,
    shape: tuple[int, ...],
    like: Tensor | None = None,
    owner: object = None,
) -> None:
    """Raise unless ``value`` has exactly this shape and is on the device of ``like``.

    The message names ``owner``, such as the removal sets that the shape depends on.
    """
    check_tensor(value, name, like)
    if value.shape != shape:
        raise ValueError(
            f"expected {name} of shape {list(shape)}{_for(owner)}, got {list(value.shape)}"
        )


def check_last(
    value: Tensor,
    name: str,
    *sizes: int | str,
    like: Tensor | None = None,
    owner: object = None,
) -> None:
    """Raise unless the last dimensions have these sizes, where a letter is any size.

    The message names ``owner``, such as the removal sets that the sizes depend on.
    """
    check_tensor(value, name, like)
    found = value.shape[-len(sizes) :]
    if found != sizes and (len(found) < len(sizes) or not all(map(_fits, sizes, found))):
        expected = ", ".join(map(str, sizes))
        raise ValueError(f"{name}: expected [*, {expected}]{_for(owner)}, got {list(value.shape)}")


def _fits(size: int | str, found: int) -> bool:
    return isinstance(size, str) or size == found


def _for(owner: object) -> str:
    return "" if owner is None else f" for {owner}"


def check_like(value: Tensor, name: str, like: Tensor, like_name: str) -> None:
    """Raise unless ``value`` has the dtype, device and exact shape of ``like``."""
    check_tensor(value, name, like)
    check_dtype(value, name, like, like_name)
    check_shape(value, name, like.shape)


def check_matrix(matrix: Tensor, name: str, points: Tensor) -> None:
    """Raise unless ``matrix`` is ``[3, 3]``, or ``[*, 3, 3]`` with the leading dims of points."""
    check_tensor(matrix, name, points)
    check_dtype(matrix, name, points, "the rest of the input")
    lead = list(points.shape[:-2])
    if list(matrix.shape) not in ([*lead, 3, 3], [3, 3]):
        raise ValueError(
            f"expected {name} of shape {[*lead, 3, 3]} (one per sample) or [3, 3] (shared), "
            f"got {list(matrix.shape)}"
        )


def check_bool(value: Tensor, name: str) -> None:
    """Raise unless ``value`` is bool."""
    check_tensor(value, name)
    if value.dtype != torch.bool:
        raise TypeError(f"expected {name} as torch.bool, got {value.dtype}")


def check_mask(
    mask: Tensor,
    name: str,
    shape: tuple[int, ...],
    like: Tensor | None = None,
    owner: object = None,
) -> None:
    """Raise unless ``mask`` is bool, has exactly this shape and is on the device of ``like``."""
    check_bool(mask, name)
    check_shape(mask, name, shape, like, owner)


def check_choice(value: str, name: str, *choices: str) -> None:
    """Raise unless ``value`` is one of the choices."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name}: expected {', '.join(others)} or {last}, got {value!r}")


def check_number(value: object, name: str) -> None:
    """Raise unless ``value`` is a real number, or a tensor such as a learned weight."""
    if isinstance(value, bool) or not isinstance(value, Real | Tensor):
        raise TypeError(f"expected {name} as a number, got {type(value).__name__}")


def check_between(value: float, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise unless ``value`` is a finite number from ``low`` to ``high``."""
    check_number(value, name)
    if not (low <= value <= high and abs(value) < math.inf):
        above = "" if low == -math.inf else f", at least {low:g}"
        limit = f"finite{above}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"expected {name} to be {limit}, got {value}")


def check_range(pair: tuple[float, float], name: str, limit: float = math.inf) -> None:
    """Raise unless ``pair`` is (least, largest), finite and from 0 to ``limit``."""
    low, high = pair
    if not (0 <= low <= high <= limit and high < math.inf):
        bound = "finite and not negative" if limit == math.inf else f"from 0 to {limit:g}"
        raise ValueError(f"expected {name} as (least, largest), {bound}, got ({low}, {high})")


def check_positive(value: float, name: str) -> None:
    """Raise unless ``value`` is a positive, finite number."""
    check_number(value, name)
    if not 0 < value < math.inf:
        raise ValueError(f"expected {name} to be positive and finite, got {value}")
