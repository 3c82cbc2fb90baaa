"""A hand before a camera, and an object between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from handgraph.datasets.kinematics import (
    Array,
    finger_hinges,
    forward_kinematics,
    sample_angles,
    sample_bones,
    sample_rotations,
)
from handgraph.datasets.objects import Objects, object_entry, sample_objects
from handgraph.datasets.occlusion import hand_surfaces, view_rays
from handgraph.skeletons import HAND

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


class Hands(NamedTuple):
    """Hands before the camera.

    Shapes:
        xyz: ``[n, 21, 3]``, joints.
        scale: ``[n]``, the subjects' sizes (no unit).
        palm: ``[n, 3, 3]``, the palms' frames: the columns point to the thumb's side, to the
            fingers, and out of the palm.
        hinge: ``[n, 5, 3]``, the axes around which the fingers bend.
        forearm: ``[n, 3]``, unit vectors from the wrist toward the elbow.

    Units:
        Metres in the camera frame.
    """

    xyz: Array
    scale: Array
    palm: Array
    hinge: Array
    forearm: Array


class Sight(NamedTuple):
    """What the ray to each joint meets.

    Shapes:
        own, other: ``[n, 21]``: the joint's own skin, and the rest of the hand (infinite if it is
            not on the ray).
        entry: ``[n, 8, 21]``: each object.

    Units:
        Metres along the ray from the camera.
    """

    own: Array
    other: Array
    entry: Array


class Scene(NamedTuple):
    """Hands, the objects that are tried before each (``[n, 8]``), and what the rays meet."""

    hands: Hands
    objects: Objects
    sight: Sight


def sample_scene(
    rng: np.random.Generator,
    num_scenes: int,
    camera: Camera,
    look: Callable[[Hands, Objects, Camera], Sight] | None = None,
) -> Scene:
    """Draw hands, place them in the image, and draw objects before them.

    Args:
        rng: Source of random numbers.
        num_scenes: Number of scenes.
        camera: The camera.
        look: Finds what the rays meet. Default: :func:`capsule_sight`.

    Example:
        >>> scene = sample_scene(np.random.default_rng(0), 4, Camera(256, 500.0))
        >>> scene.hands.xyz.shape, scene.sight.entry.shape
        ((4, 21, 3), (4, 8, 21))
    """
    hands = sample_hands(rng, num_scenes, camera)
    objects = sample_objects(rng, hands.xyz, NUM_OBJECTS)
    return Scene(hands, objects, (look or capsule_sight)(hands, objects, camera))


def sample_hands(rng: np.random.Generator, num_hands: int, camera: Camera) -> Hands:
    """Draw hands and place them in the image.

    Example:
        >>> hands = sample_hands(np.random.default_rng(0), 4, Camera(256, 500.0))
        >>> np.allclose(np.linalg.norm(hands.hinge, axis=-1), 1.0)
        True
    """
    bones, angles = sample_bones(rng, num_hands), sample_angles(rng, num_hands)
    palm = sample_rotations(rng, num_hands)
    turned = np.einsum("nij,nkj->nki", palm, forward_kinematics(angles, bones))
    fill = rng.uniform(0.6, 0.8, num_hands)
    jitter = rng.uniform(-0.4, 0.4, (num_hands, 2)) * (1.0 - fill[:, None])
    xyz = place_in_image(turned, camera, fill, jitter)
    hinge = np.einsum("nij,nfj->nfi", palm, finger_hinges(angles))
    forearm = _sample_forearms(rng.spawn(1)[0], palm, xyz)
    return Hands(xyz, bones.scale, palm, hinge, forearm)


def capsule_sight(hands: Hands, objects: Objects, camera: Camera) -> Sight:
    """Look at hands that are a capsule along each bone, without a forearm."""
    own, other = hand_surfaces(hands.xyz, hands.scale)
    return Sight(own, other, object_entry(view_rays(hands.xyz), objects).swapaxes(1, 2))


def _sample_forearms(rng: np.random.Generator, palm: Array, xyz: Array) -> Array:
    """Bend wrists at random, and of four such choices take one that leads away from the camera.

    Up to 50 degrees toward palm or back, 20 degrees to the sides. The random numbers are not those
    of the hands, which stay as they are.
    """
    bend = np.radians(rng.uniform(-50.0, 50.0, (4, len(palm))))
    side = np.radians(rng.uniform(-20.0, 20.0, (4, len(palm))))
    local = np.stack([np.sin(side), -np.cos(side) * np.cos(bend), np.cos(side) * np.sin(bend)], -1)
    forearm = np.einsum("nij,knj->kni", palm, local)
    away = np.einsum("kni,ni->kn", forearm, view_rays(xyz)[:, HAND.index("wrist")])
    best = np.abs(away - 0.25).argmin(axis=0)
    return np.asarray(forearm[best, np.arange(len(palm))])


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
        >>> hand = sample_hands(np.random.default_rng(0), 1, Camera(256, 500.0)).xyz
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
