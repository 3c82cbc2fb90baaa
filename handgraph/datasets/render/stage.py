"""What stands before the camera: hands with a forearm, and an object at most, as tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Stage(NamedTuple):
    """All that decides the geometry of images, one row each.

    Shapes:
        xyz: ``[n, 21, 3]``, joints.
        scale: ``[n]``, the subject's size relative to the mean (no unit).
        palm: ``[n, 3, 3]``, the palm's frame; the columns point to the thumb's side, to the fingers
            and out of the palm.
        hinge: ``[n, 5, 3]``, the axis around which each finger bends.
        forearm: ``[n, 3]``, from the wrist to the elbow's side, a unit vector.
        kind: Long ``[n]``: 0 no object, 1 a capsule, 2 a box.
        capsule: ``[n, 2, 3]``, the segment's ends; radius: ``[n]``.
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
        """Give the images with these numbers."""
        return Stage(*(values[index] for values in self))

    def to(self, device: torch.device) -> Stage:
        """Give the same on another device."""
        return Stage(*(values.to(device) for values in self))
