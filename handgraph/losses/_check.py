"""Checks of the arguments of losses."""

from __future__ import annotations

from torch import Tensor

from handgraph._check import check_device, check_floating


def check_pair(value: Tensor, target: Tensor) -> None:
    """Raise unless prediction and target are floating point, of equal shape and on one device."""
    check_floating(value, "the prediction")
    check_floating(target, "the target")
    check_device(target, "the target", value)
    if value.shape != target.shape:
        raise ValueError(
            f"expected prediction and target of equal shape, "
            f"got {list(value.shape)} and {list(target.shape)}"
        )
