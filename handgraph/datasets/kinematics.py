"""Forward kinematics of a hand: joints from bones and angles.

The hand's own frame has its origin at the wrist: x radial (toward the thumb), y distal (toward the
fingers), z palmar (out of the palm). The hand is a right hand, and the frame is right-handed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.skeletons import FINGERS, HAND

Array = NDArray[np.float64]


class HandAngles(NamedTuple):
    """Joint angles of hands, in degrees.

    Shapes:
        flexion: ``[*, 5, 3]``, fingers from thumb to pinky, joints mcp, pip, dip. Positive flexion
            bends toward the palm.
        abduction: ``[*, 5]`` at the mcp. Positive abduction turns toward the thumb's side.
    """

    flexion: Array
    abduction: Array


class HandBones(NamedTuple):
    """Sizes of hands, in metres, and directions of the fingers at rest.

    Shapes:
        bases: ``[*, 5, 3]``, each finger's first joint in the hand's frame.
        lengths: ``[*, 5, 3]``, the bones of each finger from base to tip.
        scale: ``[*]``, the subject's size relative to the mean (no unit).
        frames: ``[*, 5, 3, 3]``, or ``[5, 3, 3]`` if shared: each finger's frame at rest,
            orthonormal and right-handed. The columns point radially, along the finger, and in its
            direction of flexion.
    """

    bases: Array
    lengths: Array
    scale: Array
    frames: Array


def forward_kinematics(angles: HandAngles, bones: HandBones) -> Array:
    r"""Compute the joints of hands from angles and bones.

    Each finger is planar. With :math:`\theta_b` the sum of the flexion angles up to bone b and
    :math:`\phi` the abduction, bone b points along :math:`(\sin\phi\cos\theta_b,
    \cos\phi\cos\theta_b, \sin\theta_b)` in its finger's frame.

    Args:
        angles: Flexion and abduction.
        bones: Bases, lengths and frames.

    Shapes:
        output: ``[*, 21, 3]``, in the order of :data:`handgraph.skeletons.HAND`.

    Units:
        Angles in degrees; bones and joints in metres, in the hand's frame (wrist at the origin).

    Example:
        >>> from handgraph.datasets.hand_shape import HandShape
        >>> flat = HandAngles(np.zeros((5, 3)), np.zeros(5))
        >>> xyz = forward_kinematics(flat, HandShape.narrow().mean())
        >>> xyz[HAND.index("middle_tip")].round(3).tolist()  # 93 + 47 + 30 + 23 mm
        [0.0, 0.193, 0.0]
    """
    total = np.radians(np.cumsum(angles.flexion, axis=-1))
    side = np.radians(angles.abduction)[..., None]
    local = np.stack(
        [np.sin(side) * np.cos(total), np.cos(side) * np.cos(total), np.sin(total)], axis=-1
    )
    steps = np.einsum("...fij,...fbj->...fbi", bones.frames, local) * bones.lengths[..., None]
    joints = bones.bases[..., None, :] + np.cumsum(steps, axis=-2)
    fingers = np.concatenate([bones.bases[..., None, :], joints], axis=-2)
    wrist = np.zeros((*fingers.shape[:-3], 1, 3))
    flat = fingers.reshape(*fingers.shape[:-3], -1, 3)
    return np.concatenate([wrist, flat], axis=-2)[..., _HAND_ORDER, :]


def finger_hinges(angles: HandAngles, frames: Array) -> Array:
    """Return the axis that the joints of each finger rotate around; it depends only on abduction.

    Args:
        angles: Flexion and abduction.
        frames: Each finger's frame at rest, as in :class:`HandBones`.

    Shapes:
        output: ``[*, 5, 3]``, unit vectors in the hand's frame. A rotation around the axis by the
            right-hand rule bends the finger toward the palm.

    Example:
        >>> from handgraph.datasets.hand_shape import HandShape
        >>> flat = HandAngles(np.zeros((5, 3)), np.zeros(5))
        >>> finger_hinges(flat, HandShape.narrow().mean().frames)[2].tolist()  # middle finger
        [1.0, 0.0, 0.0]
    """
    side = np.radians(angles.abduction)
    local = np.stack([np.cos(side), -np.sin(side), np.zeros_like(side)], axis=-1)
    return np.asarray(np.einsum("...fij,...fj->...fi", frames, local))


def turn_in_palm(degrees: Array) -> Array:
    """Return the frames of fingers in the palm's plane, rotated toward the thumb's side.

    Shapes:
        degrees: ``[*]``; output: ``[*, 3, 3]``.

    Example:
        >>> turn_in_palm(np.array(90.0)).round(1)[:, 1].tolist()  # along the finger
        [1.0, 0.0, 0.0]
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    frames = np.zeros((*np.shape(degrees), 3, 3))
    frames[..., 0, 0], frames[..., 0, 1] = cos, sin
    frames[..., 1, 0], frames[..., 1, 1] = -sin, cos
    frames[..., 2, 2] = 1.0
    return frames


_JOINTS = ("wrist", *(f"{f}_{joint}" for f in FINGERS for joint in ("mcp", "pip", "dip", "tip")))
_HAND_ORDER = [_JOINTS.index(joint) for joint in HAND.joints]


def sample_rotations(rng: np.random.Generator, num_hands: int) -> Array:
    """Draw rotations uniformly over all orientations, from unit quaternions.

    Args:
        rng: Source of random numbers.
        num_hands: Number of rotations.

    Shapes:
        output: ``[n, 3, 3]``, determinant +1.

    Example:
        >>> rotations = sample_rotations(np.random.default_rng(0), 3)
        >>> np.linalg.det(rotations).round(6).tolist()
        [1.0, 1.0, 1.0]
    """
    quaternion = rng.standard_normal((num_hands, 4))
    w, x, y, z = (quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
