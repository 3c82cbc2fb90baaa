"""Local frames of the bones, for the textures of skin, clothes and objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.render.shapes import cross, norm
from handgraph.datasets.render.stage import Stage
from handgraph.skeletons import FINGERS, HAND

PALM_UNIT = 0.09
"""Unit of length along palm and forearm, in metres for a hand of mean size."""


class Frames(NamedTuple):
    """Frames of the bones of ``anatomy.BONES``, ``[n, bones, 3]`` each.

    Args:
        base: Origins.
        along: From the base to the bone's end. In palm and forearm it points to the fingers and is
            :data:`PALM_UNIT` long. On objects it is one centimetre long.
        upward: Unit vectors, toward the back of the hand.
    """

    base: Tensor
    along: Tensor
    upward: Tensor


def bone_frames(stage: Stage) -> Frames:
    """Compute the frames of every bone, the forearm and the object.

    Example:
        >>> from handgraph.datasets.render.example import open_hand
        >>> from handgraph.datasets.render.anatomy import BONES
        >>> upward = bone_frames(open_hand()).upward[0, BONES.index("index_tip")]
        >>> upward[-1].item()  # along z: we see the palm, so the back is away from us
        1.0
    """
    parts = _finger_frames(stage), _forearm_frame(stage), _object_frame(stage)
    return Frames(*(torch.cat(vectors, dim=1) for vectors in zip(*parts, strict=True)))


def _finger_frames(stage: Stage) -> Frames:
    """Compute the frames of the skeleton's bones; those in the palm share their directions."""
    parent, child, finger = _BONES.to(stage.xyz.device)
    base, along = stage.xyz[:, parent], stage.xyz[:, child] - stage.xyz[:, parent]
    upward = _unit(cross(along, stage.hinge[:, finger]))
    in_palm = (parent == HAND.index("wrist"))[:, None]
    length = PALM_UNIT * stage.scale[:, None, None]
    return Frames(
        base,
        torch.where(in_palm, length * stage.palm[:, None, :, 1], along),
        torch.where(in_palm, -stage.palm[:, None, :, 2], upward),
    )


def _forearm_frame(stage: Stage) -> Frames:
    along = -stage.forearm[:, None]
    upward = _unit(cross(along, stage.palm[:, None, :, 0]))
    wrist = stage.xyz[:, HAND.index("wrist"), None]
    return Frames(wrist, PALM_UNIT * stage.scale[:, None, None] * along, upward)


def _object_frame(stage: Stage) -> Frames:
    """Compute the object's frame, along a capsule's segment or the first edge of a box."""
    is_box = (stage.kind == 2)[:, None]
    start, end = stage.capsule.unbind(1)
    along = torch.where(is_box, stage.axes[..., 0], _unit(end - start))
    upward = torch.where(is_box, stage.axes[..., 2], _unit(cross(along, stage.axes[..., 1])))
    base = torch.where(is_box, stage.box, start)
    return Frames(base[:, None], 0.01 * along[:, None], upward[:, None])


def _unit(vector: Tensor) -> Tensor:
    return vector / norm(vector)[..., None].clamp(min=1e-12)


def _bones() -> Tensor:
    """Return parent, child and finger of each bone, ``[3, bones]``."""
    fingers = [FINGERS.index(HAND.joints[child].split("_")[0]) for child in HAND.bones[1]]
    return torch.cat([HAND.bones, torch.tensor([fingers])])


_BONES = _bones()
