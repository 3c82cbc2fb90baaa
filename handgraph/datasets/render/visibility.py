"""Which joints an image shows: the renderer's own surfaces, asked at the joints' pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.datasets.render.anatomy import BONES
from handgraph.datasets.render.raster import first_hits, pixel_rays
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.render.surface import (
    bone_labels,
    hand_shapes,
    object_shapes,
    shape_numbers,
)
from handgraph.datasets.scene import Camera
from handgraph.skeletons import HAND


def joint_pixels(xyz: Tensor, camera: Camera) -> Tensor:
    """Give the pixel that each joint falls into, (u, v), ``[*, 21, 2]``, whole numbers."""
    return (camera.focal * xyz[..., :2] / xyz[..., 2:] + camera.centre).round()


def hand_depths(stage: Stage, camera: Camera) -> tuple[Tensor, Tensor]:
    """Depths of each joint's own skin, and of the rest of hand and forearm, at the joint's pixel.

    A joint's own skin is that of the bones that meet in it.

    Shapes:
        outputs: ``own [n, 21]`` and ``other [n, 21]``, signed as in the z-buffer.
    """
    pixels = joint_pixels(stage.xyz, camera)
    numbers, _ = shape_numbers(pixels.device)
    rays = pixel_rays(pixels[..., 0], pixels[..., 1], camera)
    depth = first_hits(rays, hand_shapes(stage), numbers)
    own = own_bones(pixels.device)[:, bone_labels(pixels.device)[numbers]]
    hidden = torch.full((), torch.inf, device=pixels.device)
    return (
        torch.where(own, depth, hidden).amin(dim=-1),
        torch.where(own, hidden, depth).amin(dim=-1),
    )


def object_depths(stage: Stage, camera: Camera) -> Tensor:
    """Depths of the object at each joint's pixel, ``[n, 21]``, signed as in the z-buffer."""
    pixels = joint_pixels(stage.xyz, camera)
    _, numbers = shape_numbers(pixels.device)
    rays = pixel_rays(pixels[..., 0], pixels[..., 1], camera)
    return first_hits(rays, object_shapes(stage), numbers).amin(dim=-1)


def own_bones(device: torch.device) -> Tensor:
    """Tell which bones meet in each joint, Bool ``[21, bones]``."""
    return _OWN.to(device)


def _own() -> Tensor:
    table = torch.zeros(HAND.num_joints, len(BONES), dtype=torch.bool)
    for bone, ends in enumerate(HAND.bones.T.tolist()):
        table[ends, bone] = True
    return table


_OWN = _own()
