"""Checks of the arguments of losses."""

from __future__ import annotations

from torch import Tensor

from handgraph._check import check_floating, check_shape


def check_prediction(value: Tensor, name: str, target: Tensor) -> None:
    """Raise unless prediction and target are floating point, of equal shape and on one device."""
    check_floating(value, name)
    check_floating(target, "target")
    check_shape(target, "target", value.shape, value)
