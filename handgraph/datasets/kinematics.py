"""A hand made of bones and angles: forward kinematics, anatomical limits, and random hands.

The hand's own frame has its origin at the wrist: x radial (toward the thumb), y distal (toward the
fingers), z palmar (out of the palm). It is a right hand: x, y, z are right-handed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.skeletons import FINGERS, HAND

Array = NDArray[np.float64]

BASES = np.array(
    [[27, 25, 16], [22, 91, 5], [0, 93, 0], [-18, 85, 0], [-36, 74, 5]], dtype=np.float64
)
"""Where each finger's first joint lies, millimetres in the hand's frame, thumb to pinky."""

BONES = np.array(
    [[44, 33, 27], [42, 26, 22], [47, 30, 23], [43, 29, 23], [34, 21, 20]], dtype=np.float64
)
"""The three bones of each finger from base to tip, adult means in millimetres."""

FLEXION_LIMITS = np.array(
    [[[-15, 30], [-10, 55], [-10, 80]]] + [[[-20, 90], [0, 110], [0, 85]]] * 4, dtype=np.float64
)
"""Least and largest flexion in degrees, ``[finger, joint, 2]``; the joints are mcp, pip, dip."""

ABDUCTION_LIMIT = 20.0
"""Largest abduction to either side in degrees, from the finger's direction at rest."""

SUBJECT_SPREAD, BONE_SPREAD = 0.08, 0.035
"""Relative standard deviations of a subject's size, and of one bone beyond it; both within 3 sd."""

_REST = np.array([0.0, 4.0, 0.0, -4.0, -9.0])  # fan of the four fingers at rest, degrees
_SPLAY = np.array([0.0, 0.6, 0.15, -0.3, -0.75])  # share of the common splay, of ABDUCTION_LIMIT
_THUMB = np.array([0.62, 0.62, 0.48]), np.array([-0.80, 0.35, 0.48])  # along, and where it flexes


class HandAngles(NamedTuple):
    """The angles of a hand, in degrees.

    Shapes:
        flexion: ``[*, 5, 3]``, fingers from thumb to pinky, joints mcp, pip, dip. Positive bends
            toward the palm.
        abduction: ``[*, 5]`` at the mcp. Positive is toward the thumb's side.
    """

    flexion: Array
    abduction: Array


class HandBones(NamedTuple):
    """The sizes of a hand, in metres.

    Shapes:
        bases: ``[*, 5, 3]``, each finger's first joint in the hand's frame.
        lengths: ``[*, 5, 3]``, the bones of each finger from base to tip.
        scale: ``[*]``, the subject's size relative to the mean (no unit).
    """

    bases: Array
    lengths: Array
    scale: Array


def finger_frames() -> Array:
    """Give each finger's frame at rest: the columns are radial, along the finger, and flexion.

    Shapes:
        output: ``[5, 3, 3]``, orthonormal, right-handed, thumb to pinky.

    Units:
        Unit vectors in the hand's frame.

    Example:
        >>> finger_frames()[2].tolist()  # the middle finger points along the hand
        [[1.0, 0.0, 0.0], [-0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    cos, sin = np.cos(np.radians(_REST)), np.sin(np.radians(_REST))
    frames = np.zeros((len(FINGERS), 3, 3))
    frames[:, 0, 0], frames[:, 0, 1] = cos, sin
    frames[:, 1, 0], frames[:, 1, 1] = -sin, cos
    frames[:, 2, 2] = 1.0
    along, bend = (v / np.linalg.norm(v) for v in _THUMB)
    bend = bend - (bend @ along) * along
    bend = bend / np.linalg.norm(bend)
    frames[FINGERS.index("thumb")] = np.stack([np.cross(along, bend), along, bend], axis=-1)
    return frames


def forward_kinematics(angles: HandAngles, bones: HandBones) -> Array:
    r"""Place the joints of hands with these angles and bones.

    A finger is planar. With :math:`\theta_b` the flexion summed up to bone b and :math:`\phi` the
    abduction, bone b points along :math:`(\sin\phi\cos\theta_b, \cos\phi\cos\theta_b,
    \sin\theta_b)` in its finger's frame (:func:`finger_frames`).

    Args:
        angles: Flexion and abduction.
        bones: Bases and lengths.

    Shapes:
        output: ``[*, 21, 3]``, in the order of :data:`handgraph.skeletons.HAND`.

    Units:
        Angles in degrees; bones and joints in metres, in the hand's frame (wrist at the origin).

    Example:
        >>> flat = HandAngles(np.zeros((5, 3)), np.zeros(5))
        >>> xyz = forward_kinematics(flat, HandBones(BASES / 1e3, BONES / 1e3, np.ones(())))
        >>> xyz[HAND.index("middle_tip")].round(3).tolist()  # 93 + 47 + 30 + 23 mm
        [0.0, 0.193, 0.0]
    """
    total = np.radians(np.cumsum(angles.flexion, axis=-1))
    side = np.radians(angles.abduction)[..., None]
    local = np.stack(
        [np.sin(side) * np.cos(total), np.cos(side) * np.cos(total), np.sin(total)], axis=-1
    )
    steps = np.einsum("fij,...fbj->...fbi", finger_frames(), local) * bones.lengths[..., None]
    joints = bones.bases[..., None, :] + np.cumsum(steps, axis=-2)
    fingers = np.concatenate([bones.bases[..., None, :], joints], axis=-2)
    wrist = np.zeros((*fingers.shape[:-3], 1, 3))
    flat = fingers.reshape(*fingers.shape[:-3], -1, 3)
    return np.concatenate([wrist, flat], axis=-2)[..., _HAND_ORDER, :]


def finger_hinges(angles: HandAngles) -> Array:
    """Give the axis around which the joints of each finger bend; it depends on the abduction only.

    Shapes:
        output: ``[*, 5, 3]``, unit vectors in the hand's frame. A turn around the axis by the right
        hand's rule bends the finger toward the palm.

    Example:
        >>> finger_hinges(HandAngles(np.zeros((5, 3)), np.zeros(5)))[2].tolist()  # middle finger
        [1.0, 0.0, 0.0]
    """
    side = np.radians(angles.abduction)
    local = np.stack([np.cos(side), -np.sin(side), np.zeros_like(side)], axis=-1)
    return np.asarray(np.einsum("fij,...fj->...fi", finger_frames(), local))


_JOINTS = ("wrist", *(f"{f}_{joint}" for f in FINGERS for joint in ("mcp", "pip", "dip", "tip")))
_HAND_ORDER = [_JOINTS.index(joint) for joint in HAND.joints]


def sample_angles(rng: np.random.Generator, num_hands: int) -> HandAngles:
    """Draw random poses within the anatomical limits.

    How far a finger curls is correlated between fingers (0.6), and its mcp follows the curl in
    part. The dip bends 0.6 times as much as the pip, give or take 0.15. Splay is common to the
    fingers, which keeps them in order, and shrinks as the mcp bends. The thumb is freer.

    Args:
        rng: Source of random numbers.
        num_hands: Number of poses.

    Shapes:
        output: flexion ``[n, 5, 3]``, abduction ``[n, 5]``.

    Units:
        Degrees.

    Example:
        >>> angles = sample_angles(np.random.default_rng(0), 1000)
        >>> bool((angles.flexion >= FLEXION_LIMITS[..., 0]).all())
        True
        >>> bool((np.abs(angles.abduction) <= ABDUCTION_LIMIT).all())
        True
    """
    shape = (num_hands, len(FINGERS))
    curl = np.sqrt(0.6) * rng.standard_normal((num_hands, 1))
    curl = curl + np.sqrt(0.4) * rng.standard_normal(shape)
    follow = 0.6 * curl + 0.8 * rng.standard_normal(shape)
    free = rng.standard_normal(shape)  # only the thumb bends its last joint freely
    share = np.stack([_uniform(follow), _uniform(curl) ** 1.3, _uniform(free)], axis=-1)
    low, high = FLEXION_LIMITS[..., 0], FLEXION_LIMITS[..., 1]
    flexion = low + (high - low) * share
    coupled = (0.6 + 0.05 * _bell(rng, shape)) * flexion[..., 1]
    is_thumb = np.array(FINGERS) == "thumb"
    flexion[..., 2] = np.where(is_thumb, flexion[..., 2], coupled)
    return HandAngles(flexion, _sample_abduction(rng, flexion[..., 0]))


def _sample_abduction(rng: np.random.Generator, mcp_flexion: Array) -> Array:
    num_hands = len(mcp_flexion)
    splay = rng.uniform(-0.2, 1.0, (num_hands, 1)) * ABDUCTION_LIMIT * _SPLAY
    splay = splay + 1.6 * _bell(rng, mcp_flexion.shape)
    thumb = FINGERS.index("thumb")
    straight = 1.0 - 0.8 * np.maximum(mcp_flexion, 0.0) / FLEXION_LIMITS[:, 0, 1]
    abduction = splay * straight
    abduction[:, thumb] = rng.uniform(-ABDUCTION_LIMIT, ABDUCTION_LIMIT, num_hands)
    return np.asarray(abduction)


def sample_bones(rng: np.random.Generator, num_hands: int) -> HandBones:
    """Draw random subjects: one size for the whole hand, and a small deviation for each bone.

    Args:
        rng: Source of random numbers.
        num_hands: Number of subjects.

    Shapes:
        output: bases ``[n, 5, 3]``, lengths ``[n, 5, 3]``, scale ``[n]``.

    Units:
        Metres. The standard deviations are :data:`SUBJECT_SPREAD` and :data:`BONE_SPREAD`, and no
        factor is further than three of them from 1.

    Example:
        >>> bones = sample_bones(np.random.default_rng(0), 4000)
        >>> round(float(bones.scale.mean()), 2), round(float(bones.scale.std()), 2)
        (1.0, 0.08)
    """
    scale = 1.0 + SUBJECT_SPREAD * _bell(rng, (num_hands,))
    palm = 1.0 + BONE_SPREAD * _bell(rng, (num_hands, len(FINGERS), 1))
    bone = 1.0 + BONE_SPREAD * _bell(rng, (num_hands, *BONES.shape))
    metres = 1e-3 * scale[:, None, None]
    return HandBones(metres * palm * BASES, metres * bone * BONES, scale)


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


def _bell(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw from a bell of mean 0, standard deviation 1, within [-3, 3]: a sum of three uniforms."""
    return np.asarray(2.0 * rng.random((*shape, 3)).sum(axis=-1) - 3.0)


def _uniform(normal: Array) -> Array:
    """Map standard normal numbers to (0, 1), nearly uniformly (logistic for the normal)."""
    return np.asarray(1.0 / (1.0 + np.exp(-1.702 * normal)), dtype=np.float64)
