"""The run folder: what is in it, how it is written, how it is read.

- ``run.json``: the settings (:class:`pipeline.settings.Settings`)
- ``step1.pt`` to ``step4.pt``: ``{"step", "model"}``, the weights of the whole model after a step
- ``step1.json`` ...: iterations, seconds, images per second, and scores on held-out hands
- ``log1.csv`` ...: step, iteration, loss, 2D PCK, learning rate, images per second
- ``resume.pt``: where an unfinished step stands

Each is written under another name first, so that it is whole or not there.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.methods import build
from pipeline.settings import STEPS, Settings, from_json
from psjnet import PoseNet


def step_path(out: Path, step: int) -> Path:
    """Where the weights after a step are."""
    return out / f"step{step}.pt"


def publish(part: Path, path: Path) -> None:
    """Bring a written file to the disk, then give it its name."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    publish(part, path)


def finished(out: Path) -> list[int]:
    """The steps whose weights a run folder has."""
    return [step for step in STEPS if step_path(out, step).exists()]


def load_weights(path: Path) -> dict[str, Any]:
    """Read a file of a run onto the CPU; nothing in it is run."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes PyTorch raise
        raise ValueError(f"{path} is damaged: remove it ({type(error).__name__})") from error
    return content


def load_settings(out: Path) -> Settings:
    """Read the settings of a run."""
    path = out / "run.json"
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold the settings of a run: {error}") from error


def load_run(out: Path, step: int | None = None) -> tuple[Settings, PoseNet]:
    """Read a trained model, on the CPU and in eval mode.

    Args:
        out: The run folder.
        step: After which step; by default the last that is there.

    Raises:
        FileNotFoundError: If there is no such step.
    """
    settings, done = load_settings(out), finished(out)
    if not done or (step is not None and step not in done):
        raise FileNotFoundError(f"{out} has the weights of steps {done}, not of {step or 'any'}")
    model = build(replace(settings, weights=""))
    model.load_state_dict(load_weights(step_path(out, step or done[-1]))["model"])
    return settings, model.eval()
