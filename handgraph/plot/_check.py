"""Argument checks of the plots, and conversion of tensors to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from handgraph._check import check_floating, check_mask, check_skeleton
from handgraph.skeleton import Skeleton

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def check_named(values: object, what: str) -> None:
    """Raise unless ``values`` is a mapping of names that is not empty."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"expected {what}s by name, {{'name': {what}}}, got {type(values).__name__}"
        )
    if not values:
        raise ValueError(f"expected at least one {what}, got none")


def to_array(tensor: Tensor, name: str, shape: Sequence[int], what: str) -> Array:
    """Convert a floating-point tensor of this shape to an array."""
    check_floating(tensor, name)
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"expected {name} of shape {list(shape)}, {what}, "
                         f"got {list(tensor.shape)}")  # fmt: skip
    array: Array = tensor.detach().cpu().double().numpy()
    return array


def to_points(points: Tensor, name: str, skeleton: Skeleton, channels: int) -> Array:
    """Convert the coordinates of a skeleton's joints to an array ``[J, channels]``."""
    check_skeleton(skeleton, "skeleton")
    return to_array(points, name, (skeleton.num_joints, channels), f"the joints of {skeleton.name}")


def to_hidden(visible: Tensor | None, skeleton: Skeleton) -> Mask:
    """Return the mask of hidden joints ``[J]``; ``None`` means that all joints are visible."""
    if visible is None:
        return np.zeros(skeleton.num_joints, dtype=np.bool_)
    check_mask(visible, "visible", (skeleton.num_joints,))
    hidden: Mask = (~visible).cpu().numpy()
    return hidden
