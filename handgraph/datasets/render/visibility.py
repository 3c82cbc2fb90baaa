"""Visibility of joints in an image, from the renderer's surfaces at the joints' pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.datasets.camera import Cameras
from handgraph.datasets.render.anatomy import BONES
from handgraph.datasets.render.raster import first_hits, pixel_rays
from handgraph.datasets.render.shapes import Rays
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.render.surface import (
    bone_labels,
    hand_shapes,
    object_shapes,
    shape_numbers,
)
from handgraph.skeletons import HAND


def joint_rays(xyz: Tensor, cameras: Cameras) -> Rays:
    """Return the ray through the pixel that contains each joint, ``[n, 21]``."""
    focal = torch.from_numpy(cameras.focal).to(xyz)[:, None]
    u, v = ((focal * xyz[..., i] / xyz[..., 2] + cameras.centre).round() for i in (0, 1))
    return pixel_rays(u, v, cameras.centre, focal)


def hand_depths(stage: Stage, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Return depths of each joint's own surface, and of the rest of the hand, at its pixel.

    A joint's own surface is that of the bones that end in it. The rest includes the forearm.

    Shapes:
        outputs: ``own [n, 21]`` and ``other [n, 21]``, with shape indices as in the z-buffer.
    """
    device = stage.xyz.device
    numbers, _ = shape_numbers(device)
    rays = joint_rays(stage.xyz, cameras)
    depth = first_hits(rays, hand_shapes(stage), numbers)
    own = own_bones(device)[:, bone_labels(device)[numbers]]
    hidden = torch.full((), torch.inf, device=device)
    return (
        torch.where(own, depth, hidden).amin(dim=-1),
        torch.where(own, hidden, depth).amin(dim=-1),
    )


def object_depths(stage: Stage, cameras: Cameras) -> Tensor:
    """Return depths of the object at each joint's pixel, ``[n, 21]``, with shape indices."""
    _, numbers = shape_numbers(stage.xyz.device)
    rays = joint_rays(stage.xyz, cameras)
    return first_hits(rays, object_shapes(stage), numbers).amin(dim=-1)


def own_bones(device: torch.device) -> Tensor:
    """Return which bones end in each joint, Bool ``[21, bones]``."""
    return _OWN.to(device)


def _own() -> Tensor:
    table = torch.zeros(HAND.num_joints, len(BONES), dtype=torch.bool)
    for bone, ends in enumerate(HAND.bones.T.tolist()):
        table[ends, bone] = True
    return table


_OWN = _own()
