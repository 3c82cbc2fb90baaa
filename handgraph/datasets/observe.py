"""Simulated detections, missing joints and left hands."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from handgraph.detectors import Detections, Detector, Found, Missing, Truth
from handgraph.detectors.randomness import NumpyRandom
from handgraph.geometry import mirror_hand, mirror_matrix, transform_points


def observe(
    rng: np.random.Generator, truth: Truth, detectors: tuple[Detector, ...], image_size: int
) -> dict[str, Tensor]:
    """Simulate the detections of each hand with one of the detectors.

    Args:
        rng: Source of random numbers.
        truth: Ground truth of the hands.
        detectors: Detectors to choose from at random. A single one needs no random choice.
        image_size: Side of the image in pixels.
    """
    source = NumpyRandom(rng)
    detections = [detector.observe(source, truth, image_size) for detector in detectors]
    found, clean = detections[0] if len(detections) == 1 else _choose(rng, detections)
    return {
        "uv": found.uv,
        "uv_clean": clean.uv,
        "confidence": found.confidence,
        "confidence_clean": clean.confidence,
        "cue": found.cue,
        "cue_clean": clean.cue,
    }


def _choose(rng: np.random.Generator, detections: list[Detections]) -> Detections:
    """Choose the detections of one random detector for each hand."""
    which = torch.from_numpy(rng.integers(len(detections), size=len(detections[0].found.uv)))
    rows = torch.arange(len(which))

    def pick(candidates: tuple[Found, ...]) -> Found:
        return Found(*(torch.stack(parts)[which, rows] for parts in zip(*candidates, strict=True)))

    found, clean = zip(*detections, strict=True)
    return Detections(pick(found), pick(clean))


def lose(
    rng: np.random.Generator, entries: dict[str, Tensor], missing: Missing, image_size: int
) -> dict[str, Tensor]:
    """Remove joints drawn by ``missing``: uv and cue become NaN, confidence 0, ``found`` False."""
    uv, score = entries["uv"], entries["confidence"][..., 0]
    lost = missing.draw(NumpyRandom(rng), uv, score, image_size)
    gone = lost.unsqueeze(-1)
    return entries | {
        "uv": uv.masked_fill(gone, torch.nan),
        "cue": entries["cue"].masked_fill(gone, torch.nan),
        "confidence": entries["confidence"].masked_fill(gone, 0.0),
        "found": ~lost,
    }


def mirror_some(
    rng: np.random.Generator, entries: dict[str, Tensor], fraction: float, image_size: int
) -> dict[str, Tensor]:
    """Mirror a random fraction of the right hands, which makes them left hands."""
    left = torch.zeros(len(entries["xyz"]), dtype=torch.bool)
    if not fraction:
        return {**entries, "left": left}
    left = torch.from_numpy(rng.random(len(left)) < fraction)
    mirror = mirror_matrix(image_size, dtype=entries["uv"].dtype)
    mirrored = {
        name: transform_points(mirror, values)
        for name, values in entries.items()
        if name.startswith("uv")
    }
    mirrored["xyz"], _ = mirror_hand(entries["xyz"], entries["K"], image_size)
    pick = left[:, None, None]
    sides = {name: values.where(pick, entries[name]) for name, values in mirrored.items()}
    return {**entries, **sides, "left": left}
