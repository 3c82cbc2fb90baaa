"""Occluding objects between the camera and a hand: capsules and boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.datasets.kinematics import Array, sample_rotations
from handgraph.datasets.occlusion import Boxes, Capsules, box_entry, capsule_entry, view_rays


class Objects(NamedTuple):
    """Objects, each either a capsule or a box.

    Shapes:
        is_box: Bool ``[*, C]``.
        boxes, capsules: ``[*, C]`` of both; ``is_box`` selects one of them.
    """

    is_box: NDArray[np.bool_]
    boxes: Boxes
    capsules: Capsules

    def pick(self, chosen: int | NDArray[np.intp]) -> Objects:
        """Select one object of each row, ``[n, C]`` to ``[n]``, by one index or one per row."""
        rows = np.arange(len(self.is_box))
        return Objects(
            self.is_box[rows, chosen],
            Boxes(*(values[rows, chosen] for values in self.boxes)),
            Capsules(*(values[rows, chosen] for values in self.capsules)),
        )


def sample_objects(rng: np.random.Generator, xyz: Array, num_objects: int) -> Objects:
    """Draw objects between the camera and each hand.

    Each object is a capsule (radius 20-40 mm, segment 60-200 mm long) or a box (edges of 40-160
    mm), scaled by 0.2 to 1, in any orientation. It lies 0-40 mm in front of a point between two
    random joints.

    Args:
        rng: Source of random numbers.
        xyz: Joints in the camera frame.
        num_objects: Number of objects for each hand.

    Shapes:
        xyz: ``[n, J, 3]``; output: ``[n, num_objects]`` objects.

    Units:
        Metres, camera frame.

    Example:
        >>> hand = np.array([[[0.0, 0.0, 0.5], [0.0, 0.01, 0.5]]])
        >>> objects = sample_objects(np.random.default_rng(0), hand, 3)
        >>> bool((objects.boxes.centre[..., 2] < 0.5).all())
        True
    """
    shape = (len(xyz), num_objects)
    axes = sample_rotations(rng, len(xyz) * num_objects).reshape(*shape, 3, 3)
    size = rng.uniform(0.2, 1.0, shape)
    half = size[..., None] * rng.uniform(0.02, 0.08, (*shape, 3))
    radius, reach = size * rng.uniform(0.02, 0.04, shape), size * rng.uniform(0.03, 0.10, shape)
    is_box = rng.random(shape) < 0.5
    target = _points_between_joints(rng, xyz, num_objects)
    view = view_rays(target)
    slant = np.abs(np.einsum("nck,ncki->nci", view, axes))
    thickness = np.where(is_box, (slant * half).sum(axis=-1), radius + reach * slant[..., 0])
    gap = rng.uniform(0.0, 0.04, shape)
    centre = target - view * (thickness + gap)[..., None]
    step = axes[..., 0] * reach[..., None]
    return Objects(
        is_box, Boxes(centre, axes, half), Capsules(centre - step, centre + step, radius)
    )


def object_entry(rays: Array, objects: Objects) -> Array:
    """Return the distance from the camera to the point where each ray enters each object.

    Args:
        rays: Directions from the camera, of unit length.
        objects: Objects to intersect with the rays.

    Shapes:
        rays: ``[*, J, 3]``; output: ``[*, J, C]``.

    Units:
        Metres along the ray in the camera frame; infinite where the ray misses the object.

    Example:
        >>> hand = np.array([[[0.0, 0.0, 0.5], [0.0, 0.01, 0.5]]])
        >>> objects = sample_objects(np.random.default_rng(0), hand, 3)
        >>> bool((object_entry(view_rays(hand), objects).min(axis=1) < 0.5).all())
        True
    """
    box, capsule = box_entry(rays, objects.boxes), capsule_entry(rays, objects.capsules)
    return np.where(objects.is_box[..., None, :], box, capsule)


def _points_between_joints(rng: np.random.Generator, xyz: Array, num_points: int) -> Array:
    first, second = rng.integers(xyz.shape[1], size=(2, len(xyz), num_points, 1))
    share = rng.random((len(xyz), num_points, 1))
    start, end = (np.take_along_axis(xyz, joint, axis=1) for joint in (first, second))
    return np.asarray(share * start + (1 - share) * end)
