"""From a seed to tensors: hands, cameras, objects and detections, in chunks of fixed size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from handgraph.datasets.detector import CUE_NOISE, confidence, detect
from handgraph.datasets.kinematics import Array
from handgraph.datasets.occlusion import view_rays
from handgraph.datasets.scene import Camera, Scene, sample_scene
from handgraph.geometry import keybone_length, project, relative_depth
from handgraph.skeletons import HAND

CHUNK = 256
"""Samples that share a stream of random numbers. Another value gives another dataset."""

MIN_VISIBLE = HAND.num_joints // 2 + 1
"""Images with fewer visible joints are severely occluded: 11 (paper, section 3)."""


class Settings(NamedTuple):
    """What decides every number of a dataset but their count.

    Args:
        seed: Non-negative integer.
        image_size: Side of the image in pixels.
        focal: Focal length in pixels.
        severe_fraction: Share of severe images.
        occluder_fraction: Share of the other images that show an object.
        noise: Standard deviation of the detector's noise in pixels.
    """

    seed: int
    image_size: int
    focal: float
    severe_fraction: float
    occluder_fraction: float
    noise: float


class View(NamedTuple):
    """What a camera sees of hands.

    Shapes:
        xyz: ``[n, 21, 3]``, metres in the camera frame.
        visible: Bool ``[n, 21]``.
        surface: ``[n, 21]``, depth of the first surface on the ray to each joint, metres.
    """

    xyz: Array
    visible: NDArray[np.bool_]
    surface: Array


def simulate(num_samples: int, settings: Settings, progress: bool = False) -> dict[str, Tensor]:
    """Simulate hands and their detections.

    Each chunk of 256 samples has a counter-based stream of its own (Philox, seeded with the seed
    and the number of the chunk), so a sample depends neither on ``num_samples`` nor on the machine.

    Args:
        num_samples: Number of samples.
        settings: Everything else.
        progress: Whether to show a progress bar (in a terminal only).

    Shapes:
        output: ``[n, ...]``; :class:`handgraph.datasets.SyntheticHands` names the entries.

    Example:
        >>> tensors = simulate(2, Settings(0, 256, 500.0, 0.2, 0.6, 1.5))
        >>> tensors["uv"].shape
        torch.Size([2, 21, 2])
    """
    chunks = range(-(-num_samples // CHUNK))
    bar = tqdm(chunks, desc="SyntheticHands", unit="chunk", disable=None if progress else True)
    parts = [simulate_chunk(chunk, settings) for chunk in bar]
    return {name: torch.cat([part[name] for part in parts])[:num_samples] for name in parts[0]}


def simulate_chunk(chunk: int, settings: Settings) -> dict[str, Tensor]:
    """Simulate the samples ``256 * chunk`` to ``256 * chunk + 255`` of a dataset.

    Example:
        >>> simulate_chunk(3, Settings(0, 256, 500.0, 0.2, 0.6, 1.5))["xyz"].shape
        torch.Size([256, 21, 3])
    """
    sequence = np.random.SeedSequence(settings.seed, spawn_key=(chunk,))
    rng = np.random.Generator(np.random.Philox(sequence))
    camera = Camera(settings.image_size, settings.focal)
    severe = rng.random(CHUNK) < settings.severe_fraction
    with_object = severe | (rng.random(CHUNK) < settings.occluder_fraction)
    view = _sample_views(rng, severe, with_object, camera)
    truth = _ground_truth(view, camera)
    exact = {**_observe(rng, view, truth, settings), **truth}
    tensors = {name: torch.from_numpy(value).float() for name, value in exact.items()}
    return {**tensors, "visible": torch.from_numpy(view.visible)}


def _sample_views(
    rng: np.random.Generator,
    severe: NDArray[np.bool_],
    with_object: NDArray[np.bool_],
    camera: Camera,
) -> View:
    """Draw scenes until every image is as it must be."""
    joints = (len(severe), HAND.num_joints)
    view = View(np.empty((*joints, 3)), np.empty(joints, dtype=bool), np.empty(joints))
    pending = np.arange(len(severe))
    while len(pending):
        scene = sample_scene(rng, len(pending), camera)
        seen, accepted = look(scene, severe[pending], with_object[pending], camera)
        for values, drawn in zip(view, seen, strict=True):
            values[pending[accepted]] = drawn[accepted]
        pending = pending[~accepted]
    return view


def look(
    scene: Scene,
    severe: NDArray[np.bool_],
    with_object: NDArray[np.bool_],
    camera: Camera,
) -> tuple[View, NDArray[np.bool_]]:
    """Choose an object for each scene and look at it.

    A joint is visible if it lies in the image and its own skin comes first on the ray toward it.
    Every hand alone must show at least 11 joints. A severe image takes the first object that lies
    before the skin of at least 11 joints and leaves some joint visible: the object makes it hard,
    not the pose ("matched"). Any other takes the first that leaves at least 11 joints visible.

    Args:
        scene: Hands and objects.
        severe: Which images shall be severely occluded.
        with_object: Which images show an object.
        camera: The camera.

    Shapes:
        severe, with_object: ``[n]``; output: the view, and Bool ``[n]``, whether hand and some
        object were as they must be (where they were not, the view means nothing).
    """
    uv = camera.project(scene.xyz)
    in_image = (np.abs(uv - camera.centre) <= camera.image_size / 2).all(axis=-1)
    alone = (in_image & (scene.own <= scene.other))[:, None]
    entry = np.where(with_object[:, None, None], scene.entry, np.inf)
    covered = entry < scene.own[:, None]
    num_seen = (alone & ~covered).sum(axis=-1)
    hard = (covered.sum(axis=-1) >= MIN_VISIBLE) & (num_seen > 0)
    allowed = np.where(severe[:, None], hard, num_seen >= MIN_VISIBLE)
    allowed &= alone.sum(axis=-1) >= MIN_VISIBLE
    chosen = (np.arange(len(entry)), allowed.argmax(axis=1))
    distance = np.minimum(np.minimum(scene.own, scene.other), entry[chosen])
    surface = distance * view_rays(scene.xyz)[..., 2]
    return View(scene.xyz, alone[:, 0] & ~covered[chosen], surface), allowed.any(axis=1)


def _ground_truth(view: View, camera: Camera) -> dict[str, Array]:
    xyz, matrix = torch.from_numpy(view.xyz), torch.from_numpy(camera.matrix())
    scale = keybone_length(xyz)
    return {
        "uv_true": project(xyz, matrix).numpy(),
        "xyz": view.xyz,
        "K": np.tile(camera.matrix(), (len(xyz), 1, 1)),
        "d": relative_depth(xyz, scale).numpy(),
        "s": scale.numpy(),
    }


def _observe(
    rng: np.random.Generator, view: View, truth: dict[str, Array], settings: Settings
) -> dict[str, Array]:
    visible = view.visible
    found = detect(rng, truth["uv_true"], visible, settings.noise, settings.image_size)
    score_noise = rng.standard_normal(visible.shape)
    cue_noise = CUE_NOISE * rng.standard_normal(visible.shape)
    root = view.xyz[:, [HAND.index(str(HAND.root))], 2]
    surface = (view.surface - root) / truth["s"][:, None]
    cue = np.where(visible, truth["d"], surface)
    return {
        "uv": found.uv,
        "uv_clean": found.uv_clean,
        "confidence": confidence(score_noise, visible)[..., None],
        "confidence_clean": confidence(score_noise, np.ones_like(visible))[..., None],
        "cue": (cue + cue_noise)[..., None],
        "cue_clean": (truth["d"] + cue_noise)[..., None],
    }
