"""Argument checks of the metrics: dtypes, shapes and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from handgraph._check import check_number, check_tensor

Average = Literal["pooled", "joint"]
NanPolicy = Literal["raise", "miss"]
AVERAGES: tuple[str, ...] = get_args(Average)
NAN_POLICIES: tuple[str, ...] = get_args(NanPolicy)


def check_float(value: Tensor, name: str) -> None:
    """Raise unless ``value`` is float32 or float64; counts and means need this precision."""
    check_tensor(value, name)
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"expected {name} as float32 or float64, got {value.dtype}")


def check_same(value: Tensor, name: str, like: Tensor, like_name: str) -> None:
    """Raise unless ``value`` has the dtype, device and exact shape of ``like``."""
    check_tensor(value, name)
    if value.dtype != like.dtype:
        raise TypeError(
            f"expected {name} in the dtype of {like_name}, {like.dtype}, got {value.dtype}"
        )
    if value.shape != like.shape or value.device != like.device:
        raise ValueError(
            f"expected {name} of shape {list(like.shape)} on {like.device}, as {like_name}, "
            f"got {list(value.shape)} on {value.device}"
        )


def check_poses(pred: Tensor, target: Tensor) -> None:
    """Raise unless both are ``[*, J, 2]`` or ``[*, J, 3]`` of equal shape, dtype and device."""
    check_float(pred, "pred")
    if pred.ndim < 2 or pred.shape[-1] not in (2, 3):
        raise ValueError(f"expected pred of shape [*, J, 2] or [*, J, 3], got {list(pred.shape)}")
    check_same(target, "target", pred, "pred")


def check_values(values: Tensor, name: str) -> None:
    """Raise unless ``values`` holds one float for each joint: ``[*, J]``."""
    check_float(values, name)
    if values.ndim < 1 or values.shape[-1] < 1:
        raise ValueError(f"expected {name} of shape [*, J], got {list(values.shape)}")


def check_bool(visible: Tensor) -> None:
    """Raise unless ``visible`` is Bool ``[*, J]``."""
    check_tensor(visible, "visible")
    if visible.dtype != torch.bool:
        raise TypeError(f"expected visible as torch.bool, got {visible.dtype}")
    if visible.ndim < 1 or visible.shape[-1] < 1:
        raise ValueError(f"expected visible of shape [*, J], got {list(visible.shape)}")


def joint_mask(visible: Tensor | None, values: Tensor) -> Tensor:
    """Check ``visible`` against ``values`` ``[*, J]``; ``None`` selects all joints."""
    if visible is None:
        return torch.ones_like(values, dtype=torch.bool)
    check_bool(visible)
    if visible.shape != values.shape or visible.device != values.device:
        raise ValueError(
            f"expected visible of shape {list(values.shape)} on {values.device}, "
            f"got {list(visible.shape)} on {visible.device}"
        )
    return visible


def check_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(choices)}, got {value!r}")


def check_thresholds(thresholds: Tensor, device: torch.device, least: int) -> None:
    """Raise unless ``thresholds`` is ``[T]``, T at least ``least``, finite and increasing."""
    check_float(thresholds, "thresholds")
    if thresholds.ndim != 1 or len(thresholds) < least or thresholds.device != device:
        raise ValueError(
            f"expected thresholds of shape [T], T at least {least}, on {device}, "
            f"got {list(thresholds.shape)} on {thresholds.device}"
        )
    if not (thresholds.isfinite().all() and (thresholds.diff() > 0).all()):
        raise ValueError(f"expected finite, increasing thresholds, got {thresholds.tolist()}")


def check_level(level: float) -> None:
    """Raise unless ``level`` lies strictly between 0 and 1."""
    check_number(level, "level")
    if not 0 < level < 1:
        raise ValueError(f"expected level between 0 and 1, got {level}")


def check_numbers(values: Tensor, name: str) -> None:
    """Raise if the ``values`` of visible joints contain NaN."""
    if values.isnan().any():
        raise ValueError(
            f"expected numbers, got NaN in {int(values.isnan().sum())} of {len(values)} {name} "
            f"at visible joints"
        )
