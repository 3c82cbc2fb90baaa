"""Simulated hands, and the inputs of the nets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.transforms import sample_region, simulate_occlusion
from occlusion.masked import DROPOUT
from occlusion.methods import Hide, Simulate
from occlusion.settings import DETECTORS, HANDS
from shared.lifters import Hands, inputs

Epochs = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Returns the inputs ``[n, J, C]`` and the visibility ``[n, J]`` of an epoch."""


class Source(NamedTuple):
    """A set of simulated hands: their number, seed, kind and detector."""

    num_samples: int
    seed: int
    hands: str
    detector: str


def load(source: Source, out: Path) -> Hands:
    """Simulate hands, or read them from the cache."""
    number, seed, hands, detector = source
    where = {"root": out / "data", "progress": False, "detector": DETECTORS[detector]}
    return SyntheticHands(number, seed=seed, **where, **HANDS[hands]).tensors


def assemble(hands: Hands, names: tuple[str, ...], *, clean: bool) -> Tensor:
    """Concatenate the inputs, without occlusion if ``clean``. ``[n, J, C]``."""
    taken = {name: hands[f"{name}_clean" if clean else name] for name in names}
    return inputs(taken, *names[1:])


def simulated(hands: Hands, how: Simulate, detector: str) -> Epochs:
    """Hide new joints of clean detections in each epoch, by the test's detector or crudely."""
    names = ("uv", "cue", "confidence")
    clean = [hands[f"{name}_clean"] for name in names]

    def source(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        hidden = sample_region(clean[0], generator=rng)
        if how == "detector":
            law = DETECTORS[detector]
            seen = simulate_occlusion(*clean, hidden, detector=law, generator=rng)[:3]
        else:
            seen = crudely(*clean, hidden, rng)
        return inputs(dict(zip(names, seen, strict=True)), *names[1:]), ~hidden

    return source


def crudely(
    uv: Tensor, cue: Tensor, score: Tensor, hidden: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Add noise to hidden joints and give them random scores, unlike the test's detector."""
    hidden = hidden.unsqueeze(-1)

    def noisy(values: Tensor, deviation: float) -> Tensor:
        noise = torch.randn(values.shape, generator=rng)
        return torch.where(hidden, values + deviation * noise, values)

    any_score = torch.rand(score.shape, generator=rng)
    return noisy(uv, 15.0), noisy(cue, 1.5), torch.where(hidden, any_score, score)


def hide(x: Tensor, visible: Tensor, how: Hide, generator: torch.Generator | None = None) -> Tensor:
    """Zero joints and add a channel with the visible ones; ``"nothing"`` does neither."""
    if how == "nothing":
        return x
    if how == "at random":
        draw = torch.rand(visible.shape, generator=generator)
        visible = draw >= DROPOUT
        visible[:, HAND.index("wrist")] = True
    return torch.cat([x.where(visible.unsqueeze(-1), 0), visible.unsqueeze(-1).to(x)], dim=-1)
