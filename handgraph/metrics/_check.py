"""Argument checks of the metrics: dtypes, shapes and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from handgraph._check import check_like, check_mask, check_number, check_tensor

Average = Literal["pooled", "joint"]
NanPolicy = Literal["raise", "miss"]
AVERAGES: tuple[str, ...] = get_args(Average)
NAN_POLICIES: tuple[str, ...] = get_args(NanPolicy)


def check_precision(value: Tensor, name: str) -> None:
    """Raise unless ``value`` is float32 or float64; counts and means need this precision."""
    check_tensor(value, name)
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"expected {name} as float32 or float64, got {value.dtype}")


def check_poses(pred: Tensor, target: Tensor) -> None:
    """Raise unless both are ``[*, J, 2]`` or ``[*, J, 3]`` of equal shape, dtype and device."""
    check_precision(pred, "pred")
    if pred.ndim < 2 or pred.shape[-1] not in (2, 3):
        raise ValueError(f"expected pred of shape [*, J, 2] or [*, J, 3], got {list(pred.shape)}")
    check_like(target, "target", pred, "pred")


def check_values(values: Tensor, name: str) -> None:
    """Raise unless ``values`` holds one float for each joint: ``[*, J]``."""
    check_precision(values, name)
    if values.ndim < 1 or values.shape[-1] < 1:
        raise ValueError(f"expected {name} of shape [*, J], got {list(values.shape)}")


def joint_mask(visible: Tensor | None, values: Tensor) -> Tensor:
    """Check ``visible`` against ``values`` ``[*, J]``; ``None`` selects all joints."""
    if visible is None:
        return torch.ones_like(values, dtype=torch.bool)
    check_mask(visible, "visible", values.shape, values)
    return visible


def check_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(choices)}, got {value!r}")


def check_thresholds(thresholds: Tensor, device: torch.device, least: int) -> None:
    """Raise unless ``thresholds`` is ``[T]``, T at least ``least``, finite and increasing."""
    check_precision(thresholds, "thresholds")
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


def check_no_nan(values: Tensor, name: str) -> None:
    """Raise if the ``values`` of visible joints contain NaN."""
    if values.isnan().any():
        raise ValueError(
            f"expected numbers, got NaN in {int(values.isnan().sum())} of {len(values)} {name} "
            f"at visible joints"
        )
