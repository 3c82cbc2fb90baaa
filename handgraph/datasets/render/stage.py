"""Inputs of the renderer: hands with a forearm and at most one object, as tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Stage(NamedTuple):
    """Geometry of images, one row for each image.

    Shapes:
        xyz: ``[n, 21, 3]``, joint positions.
        scale: ``[n]``, the subject's size relative to the mean (no unit).
        palm: ``[n, 3, 3]``, frame of the palm. The columns point to the thumb's side, to the
            fingers and out of the palm.
        hinge: ``[n, 5, 3]``, the axis that each finger bends around.
        forearm: ``[n, 3]``, unit vector from the wrist toward the elbow.
        kind: Long ``[n]``, 0 for no object, 1 for a capsule, 2 for a box.
        capsule: ``[n, 2, 3]``, end points of the segment; radius: ``[n]``.
        box: ``[n, 3]``, the centre; axes: ``[n, 3, 3]``, the columns are its edges' directions;
            half: ``[n, 3]``, half the edges.

    Units:
        Metres in the camera frame.
    """

    xyz: Tensor
    scale: Tensor
    palm: Tensor
    hinge: Tensor
    forearm: Tensor
    kind: Tensor
    capsule: Tensor
    radius: Tensor
    box: Tensor
    axes: Tensor
    half: Tensor

    def take(self, index: Tensor) -> Stage:
        """Return the rows with these indices."""
        return Stage(*(values[index] for values in self))

    def to(self, device: torch.device) -> Stage:
        """Move all tensors to a device."""
        return Stage(*(values.to(device) for values in self))
