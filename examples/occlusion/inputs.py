"""From simulated hands to what the nets see, and back from what they say to camera space."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.geometry import denormalize_uv, normalize_uv, uvd_to_camera
from handgraph.metrics import joint_errors
from handgraph.transforms import sample_region, simulate_occlusion
from occlusion.methods import Hide, Simulate
from occlusion.settings import DETECTORS, HANDS

IMAGE_SIZE = 256
DROPOUT = 0.25
"""Share of the joints that are hidden at random in training."""


class Source(NamedTuple):
    """Which simulated hands: how many, from which seed, of which kind, seen by which detector."""

    num_samples: int
    seed: int
    hands: str
    detector: str


def load(source: Source, out: Path) -> dict[str, Tensor]:
    """Make simulated hands, or read them from the cache."""
    detector = DETECTORS[source.detector]
    return SyntheticHands(
        source.num_samples,
        seed=source.seed,
        root=out / "data",
        detector=detector,
        progress=False,
        **HANDS[source.hands],
    ).tensors


def assemble(hands: dict[str, Tensor], names: tuple[str, ...], *, clean: bool) -> Tensor:
    """Stack the inputs by channel; ``clean`` as if nothing were hidden. ``[n, J, C]``."""
    stacked = [hands[f"{name}_clean" if clean else name] for name in names]
    return torch.cat([normalize_uv(stacked[0], IMAGE_SIZE), *stacked[1:]], dim=-1)


def num_channels(names: tuple[str, ...]) -> int:
    """Channels of the assembled inputs: positions have two."""
    return sum(2 if name == "uv" else 1 for name in names)


Epochs = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Gives, once an epoch, the inputs ``[n, J, C]`` and what is visible ``[n, J]``."""


def as_they_are(hands: dict[str, Tensor], names: tuple[str, ...], *, clean: bool) -> Epochs:
    """Give the same inputs in each epoch."""
    x = assemble(hands, names, clean=clean)
    return lambda rng: (x, hands["visible"])


def simulated(hands: dict[str, Tensor], how: Simulate, detector: str) -> Epochs:
    """Hide other joints of clean detections in each epoch: position, cue, score."""
    clean = [hands[f"{name}_clean"] for name in ("uv", "cue", "confidence")]
    disturb = partial(as_the_detector, detector) if how == "detector" else crudely

    def source(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        hidden = sample_region(clean[0], generator=rng)
        uv, cue, score = disturb(*clean, hidden, rng)
        return torch.cat([normalize_uv(uv, IMAGE_SIZE), cue, score], dim=-1), ~hidden

    return source


def as_the_detector(
    detector: str, uv: Tensor, cue: Tensor, score: Tensor, hidden: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Disturb detections as the detector model of the test images does."""
    law = DETECTORS[detector]
    return simulate_occlusion(uv, cue, score, hidden, detector=law, generator=rng)[:3]


def crudely(
    uv: Tensor, cue: Tensor, score: Tensor, hidden: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Disturb hidden joints by another law than that of the test: noise, and any score at all."""
    hidden = hidden.unsqueeze(-1)

    def noisy(values: Tensor, deviation: float) -> Tensor:
        noise = torch.randn(values.shape, generator=rng)
        return torch.where(hidden, values + deviation * noise, values)

    any_score = torch.rand(score.shape, generator=rng)
    return noisy(uv, 15.0), noisy(cue, 1.5), torch.where(hidden, any_score, score)


def hide(x: Tensor, visible: Tensor, how: Hide, generator: torch.Generator | None = None) -> Tensor:
    """Zero joints and say so in a further channel; ``"nothing"`` adds no channel."""
    if how == "nothing":
        return x
    if how == "at random":
        draw = torch.rand(visible.shape, generator=generator)
        visible = draw >= DROPOUT
        visible[:, HAND.index("wrist")] = True
    return torch.cat([x.where(visible.unsqueeze(-1), 0), visible.unsqueeze(-1).to(x)], dim=-1)


def to_pixels(pose: Tensor) -> Tensor:
    """Scale u and v from [-1, 1] to the pixels of Eq. 3; where 0 lies makes no difference."""
    return pose * pose.new_tensor([IMAGE_SIZE / 2, IMAGE_SIZE / 2, 1.0])


def targets(hands: dict[str, Tensor]) -> Tensor:
    """True (u, v) in [-1, 1] and relative depth d (Eq. 1). ``[n, J, 3]``."""
    return torch.cat([normalize_uv(hands["uv_true"], IMAGE_SIZE), hands["d"].unsqueeze(-1)], dim=-1)


def camera_space(pose: Tensor, hands: dict[str, Tensor]) -> Tensor:
    """Put poses into the camera's frame: scale, root depth and K known, as in the paper (3.1)."""
    uv = denormalize_uv(pose[..., :2], IMAGE_SIZE)
    root_depth = hands["xyz"][:, HAND.index("wrist"), 2]
    uvd = torch.cat([uv, pose[..., 2:]], dim=-1)
    return uvd_to_camera(uvd, hands["K"], hands["s"].reshape(-1), root_depth)


def errors(pose: Tensor, hands: dict[str, Tensor]) -> Tensor:
    """Distance of every joint from the truth, in metres. ``[n, J]``."""
    return joint_errors(camera_space(pose, hands), hands["xyz"])
