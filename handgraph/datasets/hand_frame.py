"""The hand's own frame, bone lengths, finger bases and joint angles, measured from 3D joints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from handgraph.datasets.kinematics import Array
from handgraph.skeletons import FINGERS, HAND

_WRIST, _MIDDLE, _INDEX, _PINKY = (
    HAND.index(name) for name in ("wrist", "middle_mcp", "index_mcp", "pinky_mcp")
)
_LEVELS = ("mcp", "pip", "dip", "tip")
_FINGERS = np.array([[HAND.index(f"{finger}_{level}") for level in _LEVELS] for finger in FINGERS])

THUMB_BEND = np.array([-0.80, 0.35, 0.48])
"""Direction in which the thumb flexes: toward the pinky and into the palm."""


class HandMeasures(NamedTuple):
    """Measurements of the joints of right hands.

    Shapes:
        bases: ``[n, 5, 3]``, each finger's first joint in the hand's frame.
        lengths: ``[n, 5, 3]``, the bones of each finger from base to tip.
        flexion: ``[n, 5, 3]``, at mcp, pip and dip. Flexion at the mcp is the angle between the
            first bone and the palm's plane, also for the thumb.
        abduction: ``[n, 5]``, the angle of the first bone in the palm's plane, from the palm's axis
            toward the thumb's side.

    Units:
        bases and lengths in the unit of the joints; flexion and abduction in degrees.
    """

    bases: Array
    lengths: Array
    flexion: Array
    abduction: Array


def hand_frames(xyz: Array) -> Array:
    """Return the frame of right hands: x toward the thumb's side, y to the middle finger, z palmar.

    y points from the wrist to the middle finger's base, and x is the component orthogonal to y of
    the vector from the pinky's base to the index finger's.

    Shapes:
        xyz: ``[*, 21, 3]``; output: ``[*, 3, 3]``, the columns are x, y and z.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> xyz = SyntheticHands(1, progress=False).tensors["xyz"].numpy()
        >>> np.linalg.det(hand_frames(xyz)).round(3).tolist()
        [1.0]
    """
    distal = _unit(xyz[..., _MIDDLE, :] - xyz[..., _WRIST, :])
    side = xyz[..., _INDEX, :] - xyz[..., _PINKY, :]
    radial = _unit(side - (side * distal).sum(axis=-1, keepdims=True) * distal)
    return np.stack([radial, distal, np.cross(radial, distal)], axis=-1)


def measure(xyz: ArrayLike) -> HandMeasures:
    """Measure bases, bone lengths and angles of right hands.

    Args:
        xyz: Joints in the order of :data:`handgraph.skeletons.HAND`.

    Shapes:
        xyz: ``[n, 21, 3]``.

    Units:
        Any unit of length, in any frame.

    Raises:
        ValueError: If the shape is wrong or a coordinate is not finite.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> hands = SyntheticHands(100, progress=False).tensors
        >>> keybone = measure(hands["xyz"]).lengths[:, 2, 0]
        >>> np.allclose(keybone, hands["s"], atol=1e-6)
        True
    """
    joints = np.asarray(xyz, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (HAND.num_joints, 3):
        raise ValueError(f"expected xyz of shape [n, 21, 3], got {list(joints.shape)}")
    if not np.isfinite(joints).all():
        raise ValueError("expected finite xyz; leave out hands with missing joints")
    local = (joints - joints[:, [_WRIST]]) @ hand_frames(joints)
    fingers = local[:, _FINGERS]
    steps = np.diff(fingers, axis=2)
    bones = _unit(steps)
    first = bones[:, :, 0]
    return HandMeasures(
        fingers[:, :, 0],
        np.linalg.norm(steps, axis=-1),
        np.stack([_raised(first), *_bends(bones)], axis=-1),
        sideways(first),
    )


def _raised(bone: Array) -> Array:
    """Return the angle of a bone to the palm's plane, above 90 degrees if the bone points back."""
    angle = np.degrees(np.arcsin(bone[..., 2].clip(-1.0, 1.0)))
    back = (bone[..., 1] < 0) & (np.hypot(bone[..., 0], bone[..., 1]) < 0.5) & (bone[..., 2] > 0)
    return np.asarray(np.where(back, 180.0 - angle, angle))


def sideways(bone: Array) -> Array:
    """Return the angle of vectors in the palm's plane, from its axis to the thumb, in degrees."""
    return np.asarray(np.degrees(np.arctan2(bone[..., 0], bone[..., 1])))


def _bends(bones: Array) -> list[Array]:
    """Return the flexion at pip and dip around the first bone's hinge, positive toward the palm."""
    first = bones[:, :, 0]
    hinge = np.stack([first[..., 1], -first[..., 0], np.zeros_like(first[..., 0])], axis=-1)
    steep = np.hypot(first[..., 0], first[..., 1])[..., None] < 0.35  # above 70 degrees
    hinge = np.where(steep, np.array([1.0, 0.0, 0.0]), hinge)
    hinge[:, 0] = np.cross(first[:, 0], THUMB_BEND)
    bends = []
    for before, after in ((bones[:, :, 0], bones[:, :, 1]), (bones[:, :, 1], bones[:, :, 2])):
        angle = np.degrees(np.arccos((before * after).sum(axis=-1).clip(-1.0, 1.0)))
        turn = (np.cross(before, after) * hinge).sum(axis=-1)
        bends.append(np.where(turn < 0, -angle, angle))
    return bends


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))
