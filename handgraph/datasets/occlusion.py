"""Visibility of joints: closed-form intersection of camera rays with capsules and boxes.

A hand consists of 20 capsules, one along each bone. A joint lies inside the capsules of its own
bones. It is visible if the first surface on the ray toward it belongs to one of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from handgraph.datasets.kinematics import Array
from handgraph.skeletons import FINGERS, HAND

RADII = np.array(
    [[14, 13, 11, 9.5], [13, 10, 8.5, 7.5], [13, 10, 8.5, 7.5], [13, 9.5, 8.5, 7.5], [12, 9, 8, 7]]
)
"""Radius of each bone's capsule in millimetres, thumb to pinky, from palm to tip."""


class Capsules(NamedTuple):
    """Capsules: all points within ``radius`` of a segment, in metres.

    Shapes:
        start, end: ``[*, C, 3]``, end points of the segment.
        radius: ``[*, C]``.
    """

    start: Array
    end: Array
    radius: Array


class Boxes(NamedTuple):
    """Boxes in any orientation, in metres.

    Shapes:
        centre: ``[*, C, 3]``.
        axes: ``[*, C, 3, 3]``, rotations; the columns are the directions of the edges.
        half: ``[*, C, 3]``, half of the edge lengths.
    """

    centre: Array
    axes: Array
    half: Array


def capsule_entry(rays: Array, capsules: Capsules) -> Array:
    r"""Return the distance from the camera to the point where each ray enters each capsule.

    The ray :math:`t u` meets the cylinder around the segment a, b where
    :math:`|t u - a|^2 - ((t u - a) \cdot e)^2 = r^2` with e the segment's direction, a quadratic
    equation in t. If the first root lies beyond an end, the ball around that end is used.

    Args:
        rays: Directions from the camera, of unit length.
        capsules: Capsules to intersect with the rays; the camera lies outside all of them.

    Shapes:
        rays: ``[*, J, 3]``; output: ``[*, J, C]``.

    Units:
        Metres along the ray in the camera frame; infinite where the ray misses.

    Example:
        >>> across = Capsules(np.array([[-1.0, 0, 2]]), np.array([[1.0, 0, 2]]), np.array([0.5]))
        >>> capsule_entry(np.array([[0.0, 0, 1], [0, 1, 0]]), across).tolist()
        [[1.5], [inf]]
    """
    start, end, radius = capsules
    length = np.linalg.norm(end - start, axis=-1)
    along = (end - start) / length[..., None]
    toward, slope = _dots(rays, start), _dots(rays, along)
    offset = np.sum(along * start, axis=-1)
    rest = np.sum(start * start, axis=-1) - offset**2 - radius**2
    offset, rest, length = offset[..., None, :], rest[..., None, :], length[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):  # ray misses, or runs along the segment
        a, b = 1.0 - slope**2, toward - offset * slope
        side = (b - np.sqrt(b**2 - a * rest)) / a
        position = side * slope - offset
        near = toward - np.sqrt(toward**2 - rest - offset**2)
        toward = toward + length * slope
        far = toward - np.sqrt(toward**2 - rest - (offset + length) ** 2)
        inside = (position >= 0.0) & (position <= length)
        entry = np.where(inside, side, np.fmin(near, far))
    return np.where(entry > 0.0, entry, np.inf)


def box_entry(rays: Array, boxes: Boxes) -> Array:
    """Return the distance from the camera to the point where each ray enters each box (slab test).

    Args:
        rays: Directions from the camera.
        boxes: Boxes to intersect with the rays; the camera lies outside all of them.

    Shapes:
        rays: ``[*, J, 3]``; output: ``[*, J, C]``.

    Units:
        Metres along the ray in the camera frame; infinite where the ray misses.

    Example:
        >>> cube = Boxes(np.array([[0.0, 0, 3]]), np.eye(3)[None], np.full((1, 3), 0.5))
        >>> box_entry(np.array([[0.1, 0.1, 1.0]]), cube).tolist()
        [[2.5]]
    """
    entry, leave = np.asarray(-np.inf), np.asarray(np.inf)
    for axis in range(3):
        normal = boxes.axes[..., axis]
        centre = np.sum(normal * boxes.centre, axis=-1)[..., None, :]
        half = boxes.half[..., None, :, axis]
        with np.errstate(invalid="ignore", divide="ignore"):  # a ray along a face
            slope = 1.0 / _dots(rays, normal)
            first, second = (centre - half) * slope, (centre + half) * slope
        entry = np.maximum(entry, np.minimum(first, second))
        leave = np.minimum(leave, np.maximum(first, second))
    return np.where((entry <= leave) & (entry > 0.0), entry, np.inf)


def hand_capsules(xyz: Array, scale: Array) -> Capsules:
    """Return a capsule along each bone, of radius 12-14 mm in the palm and 7-13 mm in fingers.

    Args:
        xyz: Joints in the order of :data:`handgraph.skeletons.HAND`.
        scale: The subject's size, a factor of :data:`RADII`.

    Shapes:
        xyz: ``[*, 21, 3]``; scale: ``[*]``; output: 20 capsules, in the order of ``HAND.bones``.

    Units:
        Metres.

    Example:
        >>> hand_capsules(np.zeros((21, 3)), np.ones(())).radius.shape
        (20,)
    """
    return Capsules(xyz[..., _PARENTS, :], xyz[..., _CHILDREN, :], scale[..., None] * _BONE_RADIUS)


def hand_surfaces(xyz: Array, scale: Array) -> tuple[Array, Array]:
    """Return the distance to each joint's own surface, and to that of the rest of the hand.

    A joint's own surface is that of the bones that end in it.

    Args:
        xyz: Joints in the camera frame.
        scale: The subject's size.

    Shapes:
        xyz: ``[*, 21, 3]``; scale: ``[*]``; outputs: ``own [*, 21]`` and ``other [*, 21]``.

    Units:
        Metres along the ray from the camera; infinite where the ray hits no other bone.

    Example:
        >>> from handgraph.datasets.hand_shape import HandShape
        >>> from handgraph.datasets.kinematics import HandAngles, forward_kinematics
        >>> flat, bones = HandAngles(np.zeros((5, 3)), np.zeros(5)), HandShape.narrow().mean()
        >>> xyz = forward_kinematics(flat, bones) + [0, 0, 0.5]  # we see the back of the hand
        >>> own, other = hand_surfaces(xyz, bones.scale)
        >>> bool((own <= other).all())
        True
    """
    entry = capsule_entry(view_rays(xyz), hand_capsules(xyz, scale))
    own = np.where(_OWN, entry, np.inf).min(axis=-1)
    return own, np.where(_OWN, np.inf, entry).min(axis=-1)


def view_rays(xyz: Array) -> Array:
    """Return the unit directions from the camera to each point.

    Shapes:
        xyz: ``[*, J, 3]``; output: ``[*, J, 3]``.

    Example:
        >>> view_rays(np.array([[0.0, 3.0, 4.0]])).tolist()
        [[0.0, 0.6, 0.8]]
    """
    return np.asarray(xyz / np.linalg.norm(xyz, axis=-1, keepdims=True))


def _dots(rays: Array, points: Array) -> Array:
    u, p = rays[..., :, None, :], points[..., None, :, :]
    return np.asarray(u[..., 0] * p[..., 0] + u[..., 1] * p[..., 1] + u[..., 2] * p[..., 2])


def _bone_radii() -> Array:
    """Return radii in metres in the order of ``HAND.bones``, by each bone's child joint."""
    ends = (HAND.joints[child].split("_") for child in _CHILDREN)
    levels = ("mcp", "pip", "dip", "tip")
    return np.array([1e-3 * RADII[FINGERS.index(f), levels.index(at)] for f, at in ends])


_PARENTS, _CHILDREN = HAND.bones.tolist()
_BONE_RADIUS = _bone_radii()
_OWN = np.array(
    [[joint in bone for bone in HAND.bones.T.tolist()] for joint in range(HAND.num_joints)]
)
