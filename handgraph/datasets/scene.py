"""Scenes of a camera, a hand and an object between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.datasets.camera import Cameras
from handgraph.datasets.clearance import finger_clearance
from handgraph.datasets.hand_pose import HandPose
from handgraph.datasets.hand_shape import HandShape
from handgraph.datasets.hand_view import HandView
from handgraph.datasets.kinematics import Array, finger_hinges, forward_kinematics
from handgraph.datasets.objects import Objects, object_entry, sample_objects
from handgraph.datasets.occlusion import hand_surfaces, view_rays
from handgraph.skeletons import HAND

MIN_DISTANCE = 0.3
"""Minimum distance of a hand from the camera in metres."""

NUM_OBJECTS = 8
"""Number of candidate objects for each hand; an image shows at most one of them."""


class HandModel(NamedTuple):
    """The distributions of hands: shape, pose and view."""

    shape: HandShape = HandShape()
    pose: HandPose = HandPose()
    view: HandView = HandView()


class Hands(NamedTuple):
    """Hands in front of the camera.

    Shapes:
        xyz: ``[n, 21, 3]``, joint positions.
        scale: ``[n]``, the subjects' sizes (no unit).
        palm: ``[n, 3, 3]``, frames of the palms. The columns point to the thumb's side, to the
            fingers, and out of the palm.
        hinge: ``[n, 5, 3]``, the axes that the fingers bend around.
        forearm: ``[n, 3]``, unit vectors from the wrist toward the elbow.
        focal: ``[n]``, focal lengths of the cameras in pixels.

    Units:
        Metres in the camera frame.
    """

    xyz: Array
    scale: Array
    palm: Array
    hinge: Array
    forearm: Array
    focal: Array


class Sight(NamedTuple):
    """Distances to the surfaces on the ray to each joint.

    Shapes:
        own, other: ``[n, 21]``, to the joint's own surface and to the rest of the hand;
            infinite where the ray misses.
        entry: ``[n, 8, 21]``, to each object.

    Units:
        Metres along the ray from the camera.
    """

    own: Array
    other: Array
    entry: Array


class Scene(NamedTuple):
    """Hands, their candidate objects (``[n, 8]``), and the distances along the rays."""

    hands: Hands
    objects: Objects
    sight: Sight


def sample_scene(
    rng: np.random.Generator,
    num_scenes: int,
    image_size: int,
    model: HandModel,
    look: Callable[[Hands, Objects, Cameras], Sight] | None = None,
) -> Scene:
    """Draw hands, place them in the image, and draw objects in front of them.

    Args:
        rng: Source of random numbers.
        num_scenes: Number of scenes.
        image_size: Side of the images in pixels.
        model: Distributions of shape, pose and view.
        look: Computes the distances along the rays. Default: :func:`capsule_sight`.

    Example:
        >>> scene = sample_scene(np.random.default_rng(0), 4, 256, HandModel())
        >>> scene.hands.xyz.shape, scene.sight.entry.shape
        ((4, 21, 3), (4, 8, 21))
    """
    hands = sample_hands(rng, num_scenes, image_size, model)
    objects = sample_objects(rng, hands.xyz, NUM_OBJECTS)
    cameras = Cameras(image_size, hands.focal)
    return Scene(hands, objects, (look or capsule_sight)(hands, objects, cameras))


def sample_hands(
    rng: np.random.Generator, num_hands: int, image_size: int, model: HandModel
) -> Hands:
    """Draw hands and place them in the image.

    Example:
        >>> hands = sample_hands(np.random.default_rng(0), 4, 256, HandModel())
        >>> np.allclose(np.linalg.norm(hands.hinge, axis=-1), 1.0)
        True
    """
    local, hinge, scale = _sample_clear(rng, num_hands, model)
    palm = model.view.sample_palms(rng, num_hands)
    turned = np.einsum("nij,nkj->nki", palm, local)
    fill, shift = model.view.sample_places(rng, num_hands)
    focal = image_size * model.view.sample_focal(rng, num_hands)
    xyz = place_in_image(turned, Cameras(image_size, focal), fill, shift)
    turned_hinge = np.einsum("nij,nfj->nfi", palm, hinge)
    forearm = _sample_forearms(rng.spawn(1)[0], palm, xyz)
    return Hands(xyz, scale, palm, turned_hinge, forearm, focal)


def _sample_clear(
    rng: np.random.Generator, num_hands: int, model: HandModel
) -> tuple[Array, Array, Array]:
    """Draw hands in the hand frame until all have the minimum clearance."""
    drawn = _sample_local(rng, num_hands, model)
    pending = _too_close(drawn, np.arange(num_hands), model.pose.clearance)
    while len(pending):
        for values, again in zip(drawn, _sample_local(rng, len(pending), model), strict=True):
            values[pending] = again
        pending = _too_close(drawn, pending, model.pose.clearance)
    return drawn


def _too_close(
    drawn: tuple[Array, Array, Array], rows: NDArray[np.intp], clearance: float
) -> NDArray[np.intp]:
    """Return the rows whose fingers are closer than ``clearance``; none if it is 0."""
    if not clearance:
        return rows[:0]
    xyz, _, scale = drawn
    return rows[finger_clearance(xyz[rows], scale[rows]) < clearance]


def _sample_local(
    rng: np.random.Generator, num_hands: int, model: HandModel
) -> tuple[Array, Array, Array]:
    """Draw joints, hinges and sizes of hands in the hand frame."""
    bones, angles = model.shape.sample(rng, num_hands), model.pose.sample(rng, num_hands)
    return forward_kinematics(angles, bones), finger_hinges(angles, bones.frames), bones.scale


def capsule_sight(hands: Hands, objects: Objects, cameras: Cameras) -> Sight:
    """Compute the distances for hands made of capsules, without a forearm."""
    own, other = hand_surfaces(hands.xyz, hands.scale)
    return Sight(own, other, object_entry(view_rays(hands.xyz), objects).swapaxes(1, 2))


def _sample_forearms(rng: np.random.Generator, palm: Array, xyz: Array) -> Array:
    """Draw four random wrist bends, and keep one that points away from the camera.

    Wrists bend up to 50 degrees toward palm or back and 20 degrees to the sides. A separate random
    stream leaves the hands unaffected.
    """
    bend = np.radians(rng.uniform(-50.0, 50.0, (4, len(palm))))
    side = np.radians(rng.uniform(-20.0, 20.0, (4, len(palm))))
    local = np.stack([np.sin(side), -np.cos(side) * np.cos(bend), np.cos(side) * np.sin(bend)], -1)
    forearm = np.einsum("nij,knj->kni", palm, local)
    away = np.einsum("kni,ni->kn", forearm, view_rays(xyz)[:, HAND.index("wrist")])
    best = np.abs(away - 0.25).argmin(axis=0)
    return np.asarray(forearm[best, np.arange(len(palm))])


def place_in_image(xyz: Array, cameras: Cameras, fill: Array, jitter: Array) -> Array:
    """Translate hands so that their joints fill a given part of the image.

    The longer side of the bounding box of the projected joints becomes ``fill`` of the image,
    unless the hand would be closer than :data:`MIN_DISTANCE`. The box's centre is offset by
    ``jitter`` from the image's. Eight fixed-point iterations are exact to 0.1 % of the image.

    Args:
        xyz: Rotated hands around any origin.
        cameras: Camera of each hand.
        fill: Fraction of the image side.
        jitter: Shift of the centre, in image sides, (u, v).

    Shapes:
        xyz: ``[n, J, 3]``; fill: ``[n]``; jitter: ``[n, 2]``; output: ``[n, J, 3]``.

    Units:
        Metres; the output is in the camera frame.

    Example:
        >>> hand = sample_hands(np.random.default_rng(0), 1, 256, HandModel()).xyz
        >>> camera = Cameras(100, np.array([200.0]))
        >>> moved = place_in_image(hand, camera, np.array([0.5]), np.zeros((1, 2)))
        >>> float(np.ptp(camera.project(moved), axis=1).max().round(1))
        50.0
    """
    middle = (xyz.min(axis=1) + xyz.max(axis=1)) / 2
    size = (xyz.max(axis=1) - xyz.min(axis=1))[:, :2].max(axis=-1)
    centred = xyz - middle[:, None]
    nearest = MIN_DISTANCE - centred[..., 2].min(axis=1)
    shift = np.zeros_like(middle)
    shift[:, 2] = np.maximum(cameras.focal * size / (fill * cameras.image_size), nearest)
    for _ in range(8):
        uv = cameras.project(centred + shift[:, None])
        low, high = uv.min(axis=1), uv.max(axis=1)
        grow = (high - low).max(axis=-1) / (fill * cameras.image_size)
        wanted = cameras.centre + jitter * cameras.image_size
        shift[:, :2] += (wanted - (low + high) / 2) * shift[:, 2:] / cameras.focal[:, None]
        shift[:, 2] = np.maximum(shift[:, 2] * grow, nearest)
    return np.asarray(centred + shift[:, None])
