"""Visibility as the renderer shows it, for those who choose scenes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handgraph.datasets.camera import Cameras
from handgraph.datasets.kinematics import Array
from handgraph.datasets.objects import Objects
from handgraph.datasets.occlusion import view_rays
from handgraph.datasets.render.shapes import FAR
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.render.visibility import hand_depths, object_depths
from handgraph.datasets.scene import Hands, Sight


def to_stage(hands: Hands, objects: Objects, with_object: NDArray[np.bool_]) -> Stage:
    """Put hands and one object each, ``[n]``, into tensors as the renderer takes them."""
    box, capsule = objects.boxes, objects.capsules
    kind = with_object * (1 + objects.is_box.astype(np.int64))
    ends = np.stack([capsule.start, capsule.end], axis=-2)
    arrays = (*hands[:-1], kind, ends, capsule.radius, *box)
    return Stage(*(_tensor(values) for values in arrays))


def rendered_sight(hands: Hands, objects: Objects, cameras: Cameras) -> Sight:
    """Look at the renderer's surfaces at each joint's pixel, with the z-buffer's own numbers.

    Depths are turned into distances along the rays to the joints, which keeps their order. In small
    images a pixel's ray may miss the joint's own skin: the joint is hidden then, and if the ray
    meets nothing at all, what it shows is taken to lie at the joint's own depth.
    """
    num_hands, num_objects = objects.is_box.shape
    stage = to_stage(hands, objects.pick(0), np.zeros(num_hands, dtype=bool))
    own, other = (_array(depth) for depth in hand_depths(stage, cameras))
    other = np.where(np.isinf(own) & np.isinf(other), hands.xyz[..., 2], other)
    entry = [
        object_depths(to_stage(hands, objects.pick(k), np.ones(num_hands, bool)), cameras)
        for k in range(num_objects)
    ]
    rays = view_rays(hands.xyz)[..., 2]
    return Sight(own / rays, other / rays, _array(torch.stack(entry, dim=1)) / rays[:, None])


def _tensor(values: NDArray[np.float64] | NDArray[np.int64]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.float() if tensor.is_floating_point() else tensor


def _array(depth: Tensor) -> Array:
    """Depths in float64, infinite where nothing is met."""
    return np.where(depth < FAR, depth.double(), np.inf)
