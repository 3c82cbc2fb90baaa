"""Take the generator that another run has trained."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.methods import build
from pipeline.settings import Settings, differences
from pipeline.store import finished, load_settings, load_weights, publish, step_path

SAME = ("data", "root", "samples", "image_size", "backbone")
"""Settings that two runs must share to share a generator."""

PREFIX = "generator."


def take_generator(source: Path, out: Path, settings: Settings) -> None:
    """Write ``step1.pt`` with the generator of another run, unless there is one."""
    if 1 in finished(out):
        return
    theirs = load_weights(step_path(source, 1))["model"]
    weights = {k.removeprefix(PREFIX): v for k, v in theirs.items() if k.startswith(PREFIX)}
    model = build(settings)
    model.generator.load_state_dict(weights)
    part = out / "step1.pt.part"
    torch.save({"step": 1, "model": model.state_dict()}, part)
    publish(part, step_path(out, 1))


def check_same(source: Path, settings: Settings) -> None:
    """Raise unless another run has a generator that fits.

    Raises:
        ValueError: If its generator is another one, or has seen other hands.
        FileNotFoundError: If it has none.
    """
    if 1 not in finished(source):
        raise FileNotFoundError(f"{source} has no {step_path(source, 1).name}")
    theirs = load_settings(source)
    others = tuple(name for name in vars(settings) if name not in SAME)
    changed = differences(theirs, settings, but=others)
    if (theirs.method == "cai_literal") != (settings.method == "cai_literal"):
        changed.append(f"{theirs.method} and {settings.method} have different generators")
    if changed:
        raise ValueError(f"the generator of {source} does not fit: {'; '.join(changed)}")
