"""A hand before a camera, and an object between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from handgraph.datasets.kinematics import (
    Array,
    forward_kinematics,
    sample_angles,
    sample_bones,
    sample_rotations,
)
from handgraph.datasets.objects import Objects, object_entry, sample_objects
from handgraph.datasets.occlusion import hand_surfaces, view_rays

MIN_DISTANCE = 0.3
"""Least distance of a hand from the camera in metres."""

NUM_OBJECTS = 8
"""How many objects are tried for each hand; an image shows one of them at most."""


class Camera(NamedTuple):
    """A square pinhole camera whose principal point is the centre of the image.

    Args:
        image_size: Width and height in pixels; integer coordinates are pixel centres.
        focal: Focal length in pixels.
    """

    image_size: int
    focal: float

    @property
    def centre(self) -> float:
        """The principal point in pixels, the same for u and v."""
        return (self.image_size - 1) / 2

    def matrix(self) -> Array:
        """Give the intrinsic matrix K, ``[3, 3]``, in pixels.

        Example:
            >>> Camera(256, 500.0).matrix().tolist()
            [[500.0, 0.0, 127.5], [0.0, 500.0, 127.5], [0.0, 0.0, 1.0]]
        """
        f, c = self.focal, self.centre
        return np.array([[f, 0.0, c], [0.0, f, c], [0.0, 0.0, 1.0]])

    def project(self, xyz: Array) -> Array:
        """Project points in the camera frame, ``[*, 3]`` metres, to ``[*, 2]`` pixels (u, v)."""
        return np.asarray(self.focal * xyz[..., :2] / xyz[..., 2:] + self.centre)


class Scene(NamedTuple):
    """Hands, objects, and what the ray to each joint meets first.

    Shapes:
        xyz: ``[n, 21, 3]``, joints in the camera frame, metres.
        scale: ``[n]``, the subjects' sizes (no unit).
        objects: ``[n, 8]``, of which an image shows one at most.
        own, other: ``[n, 21]``, metres along the ray: to the joint's own skin, and to the rest of
            the hand (infinite if it is not on the ray).
        entry: ``[n, 8, 21]``, metres along the ray: to each object.
    """

    xyz: Array
    scale: Array
    objects: Objects
    own: Array
    other: Array
    entry: Array


def sample_scene(rng: np.random.Generator, num_scenes: int, camera: Camera) -> Scene:
    """Draw hands, place them in the image, and draw objects before them.

    Args:
        rng: Source of random numbers.
        num_scenes: Number of scenes.
        camera: The camera.

    Example:
        >>> scene = sample_scene(np.random.default_rng(0), 4, Camera(256, 500.0))
        >>> scene.xyz.shape, scene.entry.shape
        ((4, 21, 3), (4, 8, 21))
    """
    bones = sample_bones(rng, num_scenes)
    hand = forward_kinematics(sample_angles(rng, num_scenes), bones)
    rotation = sample_rotations(rng, num_scenes)
    turned = np.einsum("nij,nkj->nki", rotation, hand)
    fill = rng.uniform(0.6, 0.8, num_scenes)
    jitter = rng.uniform(-0.4, 0.4, (num_scenes, 2)) * (1.0 - fill[:, None])
    xyz = place_in_image(turned, camera, fill, jitter)
    own, other = hand_surfaces(xyz, bones.scale)
    objects = sample_objects(rng, xyz, NUM_OBJECTS)
    entry = object_entry(view_rays(xyz), objects).swapaxes(1, 2)
    return Scene(xyz, bones.scale, objects, own, other, entry)


def place_in_image(xyz: Array, camera: Camera, fill: Array, jitter: Array) -> Array:
    """Move hands so that their joints fill the wanted part of the image.

    The longer side of the box around the projected joints becomes ``fill`` of the image, unless the
    hand would come nearer than :data:`MIN_DISTANCE`; the box's centre lies ``jitter`` off the
    image's. Eight steps of a fixed-point iteration (exact to 0.1 % of the image).

    Args:
        xyz: Turned hands around any origin.
        camera: The camera.
        fill: Share of the image's side.
        jitter: Shift of the centre, in image sides, (u, v).

    Shapes:
        xyz: ``[n, J, 3]``; fill: ``[n]``; jitter: ``[n, 2]``; output: ``[n, J, 3]``.

    Units:
        Metres; the output is in the camera frame.

    Example:
        >>> hand = sample_scene(np.random.default_rng(0), 1, Camera(256, 500.0)).xyz
        >>> camera = Camera(100, 200.0)
        >>> moved = place_in_image(hand, camera, np.array([0.5]), np.zeros((1, 2)))
        >>> float(np.ptp(camera.project(moved), axis=1).max().round(1))
        50.0
    """
    middle = (xyz.min(axis=1) + xyz.max(axis=1)) / 2
    size = (xyz.max(axis=1) - xyz.min(axis=1))[:, :2].max(axis=-1)
    centred = xyz - middle[:, None]
    nearest = MIN_DISTANCE - centred[..., 2].min(axis=1)
    shift = np.zeros_like(middle)
    shift[:, 2] = np.maximum(camera.focal * size / (fill * camera.image_size), nearest)
    for _ in range(8):
        uv = camera.project(centred + shift[:, None])
        low, high = uv.min(axis=1), uv.max(axis=1)
        grow = (high - low).max(axis=-1) / (fill * camera.image_size)
        wanted = camera.centre + jitter * camera.image_size
        shift[:, :2] += (wanted - (low + high) / 2) * shift[:, 2:] / camera.focal
        shift[:, 2] = np.maximum(shift[:, 2] * grow, nearest)
    return np.asarray(centred + shift[:, None])
