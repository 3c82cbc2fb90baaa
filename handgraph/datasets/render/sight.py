"""Visibility in rendered images, for the choice of scenes."""

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
    """Convert hands with one object each, ``[n]``, to the renderer's tensors."""
    box, capsule = objects.boxes, objects.capsules
    kind = with_object * (1 + objects.is_box.astype(np.int64))
    ends = np.stack([capsule.start, capsule.end], axis=-2)
    arrays = (*hands[:-1], kind, ends, capsule.radius, *box)
    return Stage(*(_tensor(values) for values in arrays))


def rendered_sight(hands: Hands, objects: Objects, cameras: Cameras) -> Sight:
    """Compute the distances to the renderer's surfaces at each joint's pixel, as in the z-buffer.

    Depths are converted to distances along the rays to the joints, which preserves their order. In
    small images a pixel's ray may miss the joint's own surface. The joint is then occluded. If the
    ray hits no surface, the joint's own depth is used as the surface depth.
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
    """Return depths in float64, infinite for a miss."""
    return np.where(depth < FAR, depth.double(), np.inf)
