"""Simulation of hands, cameras, objects and detections from a seed, in chunks of fixed size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from handgraph.datasets.camera import Cameras
from handgraph.datasets.kinematics import Array
from handgraph.datasets.objects import Objects
from handgraph.datasets.observe import lose, mirror_some, observe
from handgraph.datasets.occlusion import view_rays
from handgraph.datasets.render.sight import rendered_sight, to_stage
from handgraph.datasets.scene import (
    HandModel,
    Hands,
    Scene,
    capsule_sight,
    sample_scene,
)
from handgraph.detectors import Detector, HeatmapDetector, Missing, Truth
from handgraph.geometry import keybone_length, project, relative_depth
from handgraph.skeletons import HAND

CHUNK = 256
"""Number of samples per stream of random numbers. Another value gives another dataset."""

MIN_VISIBLE = HAND.num_joints // 2 + 1
"""Number of visible joints below which an image is severely occluded (paper, section 3)."""


class Settings(NamedTuple):
    """All settings of a dataset except the number of samples.

    Args:
        seed: Non-negative integer.
        image_size: Side of the image in pixels.
        severe_fraction: Fraction of severely occluded images.
        occluder_fraction: Fraction of the other images that show an object.
        model: Distributions of shape, pose and view.
        detectors: Detectors; each hand uses a random one.
        missing: Rule that removes joints, or ``None``.
        left_fraction: Fraction of left hands.
        rendered: Whether visibility is that of rendered images. If not, hands consist of capsules.
    """

    seed: int
    image_size: int
    severe_fraction: float = 0.2
    occluder_fraction: float = 0.6
    model: HandModel = HandModel()
    detectors: tuple[Detector, ...] = (HeatmapDetector(),)
    missing: Missing | None = None
    left_fraction: float = 0.0
    rendered: bool = False


class View(NamedTuple):
    """Hands in front of a camera, one object for each, and the visibility of the joints.

    Shapes:
        hands: ``[n]`` hands.
        objects: ``[n]``, one for each hand; with_object: Bool ``[n]``, whether it is present.
        visible: Bool ``[n, 21]``.
        surface: ``[n, 21]``, depth of the first surface on the ray to each joint, metres.
    """

    hands: Hands
    objects: Objects
    with_object: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    surface: Array


def simulate(num_samples: int, settings: Settings, progress: bool = False) -> dict[str, Tensor]:
    """Simulate hands and their detections.

    Each chunk of 256 samples has a counter-based stream of its own (Philox, seeded with the seed
    and the number of the chunk), so samples depend neither on ``num_samples`` nor on the machine.

    Args:
        num_samples: Number of samples.
        settings: All other settings.
        progress: Whether to show a progress bar (in a terminal only).

    Shapes:
        output: ``[n, ...]``; :class:`handgraph.datasets.SyntheticHands` names the entries.

    Example:
        >>> tensors = simulate(2, Settings(0, 256))
        >>> tensors["uv"].shape
        torch.Size([2, 21, 2])
    """
    chunks = range(-(-num_samples // CHUNK))
    bar = tqdm(chunks, desc="SyntheticHands", unit="chunk", disable=None if progress else True)
    with torch.device("cpu"):  # independent of the default device
        parts = [simulate_chunk(chunk, settings) for chunk in bar]
    return {name: torch.cat([part[name] for part in parts])[:num_samples] for name in parts[0]}


def simulate_chunk(chunk: int, settings: Settings) -> dict[str, Tensor]:
    """Simulate the samples ``256 * chunk`` to ``256 * chunk + 255`` of a dataset.

    Example:
        >>> simulate_chunk(3, Settings(0, 256))["xyz"].shape
        torch.Size([256, 21, 3])
    """
    sequence = np.random.SeedSequence(settings.seed, spawn_key=(chunk,))
    rng = np.random.Generator(np.random.Philox(sequence))
    severe = rng.random(CHUNK) < settings.severe_fraction
    with_object = severe | (rng.random(CHUNK) < settings.occluder_fraction)
    view = _sample_views(rng, severe, with_object, settings)
    size, exact = settings.image_size, _ground_truth(view, settings.image_size)
    found = observe(rng, _truth(view, exact), settings.detectors, size)
    if settings.missing is not None:
        found = lose(rng, found, settings.missing, size)
    tensors = {name: _single(values) for name, values in {**found, **exact}.items()}
    tensors = mirror_some(rng, tensors, settings.left_fraction, size)
    return {**tensors, **_stage(view)} if settings.rendered else tensors


def _sample_views(
    rng: np.random.Generator,
    severe: NDArray[np.bool_],
    with_object: NDArray[np.bool_],
    settings: Settings,
) -> View:
    """Draw scenes until every image satisfies its conditions."""
    size = settings.image_size
    sight = rendered_sight if settings.rendered else capsule_sight
    scene = sample_scene(rng, len(severe), size, settings.model, sight)
    view, accepted = look(scene, severe, with_object, size)
    pending = np.flatnonzero(~accepted)
    while len(pending):
        scene = sample_scene(rng, len(pending), size, settings.model, sight)
        seen, accepted = look(scene, severe[pending], with_object[pending], size)
        _put(view, pending[accepted], seen, accepted)
        pending = pending[~accepted]
    return view


def _put(
    target: tuple[Any, ...] | NDArray[Any],
    rows: NDArray[np.intp],
    source: tuple[Any, ...] | NDArray[Any],
    chosen: NDArray[np.bool_],
) -> None:
    """Copy the chosen rows of nested tuples of arrays into those of ``target``."""
    if isinstance(target, tuple):
        for inner, values in zip(target, source, strict=True):
            _put(inner, rows, values, chosen)
    else:
        target[rows] = source[chosen]


def look(
    scene: Scene,
    severe: NDArray[np.bool_],
    with_object: NDArray[np.bool_],
    image_size: int,
) -> tuple[View, NDArray[np.bool_]]:
    """Choose an object for each scene, and compute the visibility of the joints.

    A joint is visible if it lies in the image and its own surface is the first on the ray toward
    it. Without an object, at least 11 joints of every hand must be visible. A severe image uses the
    first object that covers at least 11 joints and leaves at least one joint visible. The occlusion
    is thus caused by the object and not by the pose ("matched"). Other images use the first object
    that leaves at least 11 joints visible.

    Args:
        scene: Hands and objects.
        severe: Which images must be severely occluded.
        with_object: Which images show an object.
        image_size: Side of the image in pixels.

    Shapes:
        severe, with_object: ``[n]``; output: the view, and Bool ``[n]``, whether hand and object
            satisfy the conditions (elsewhere the view is undefined).
    """
    xyz, (own, other, entry) = scene.hands.xyz, scene.sight
    camera = Cameras(image_size, scene.hands.focal)
    uv = camera.project(xyz)
    in_image = (np.abs(uv - camera.centre) <= image_size / 2).all(axis=-1)
    alone = (in_image & (own <= other))[:, None]
    entry = np.where(with_object[:, None, None], entry, np.inf)
    covered = entry < own[:, None]
    num_seen = (alone & ~covered).sum(axis=-1)
    hard = (covered.sum(axis=-1) >= MIN_VISIBLE) & (num_seen > 0)
    allowed = np.where(severe[:, None], hard, num_seen >= MIN_VISIBLE)
    allowed &= alone.sum(axis=-1) >= MIN_VISIBLE
    first = allowed.argmax(axis=1)
    chosen = (np.arange(len(entry)), first)
    distance = np.minimum(np.minimum(own, other), entry[chosen])
    surface = distance * view_rays(xyz)[..., 2]
    visible = alone[:, 0] & ~covered[chosen]
    view = View(scene.hands, scene.objects.pick(first), with_object.copy(), visible, surface)
    return view, allowed.any(axis=1)


def _ground_truth(view: View, image_size: int) -> dict[str, Tensor]:
    matrix = torch.from_numpy(Cameras(image_size, view.hands.focal).matrix())
    xyz = torch.from_numpy(view.hands.xyz)
    scale = keybone_length(xyz)
    return {
        "uv_true": project(xyz, matrix),
        "xyz": xyz,
        "K": matrix,
        "d": relative_depth(xyz, scale),
        "s": scale,
        "visible": torch.from_numpy(view.visible),
    }


def _truth(view: View, exact: dict[str, Tensor]) -> Truth:
    """Return the input of the detectors, with surface depths as relative depths."""
    root = view.hands.xyz[:, [HAND.index(str(HAND.root))], 2]
    surface = torch.from_numpy(view.surface - root) / exact["s"].unsqueeze(-1)
    return Truth(exact["uv_true"], exact["d"], surface, exact["visible"])


def _single(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() else values


def _stage(view: View) -> dict[str, Tensor]:
    """Return the inputs of the renderer other than the joints."""
    stage = to_stage(view.hands, view.objects, view.with_object)
    return {f"stage_{name}": values for name, values in stage._asdict().items() if name != "xyz"}
