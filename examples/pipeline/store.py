"""The files of the run folder, and the functions that read and write them.

- ``run.json``: the settings (:class:`pipeline.settings.Settings`)
- ``step1.pt`` to ``step4.pt``: ``{"step", "model"}``, the weights of the whole model after a step
- ``step1.json`` ...: iterations, seconds, images per second, and scores on held-out hands
- ``log1.csv`` ...: step, iteration, loss, 2D PCK, learning rate, images per second
- ``resume.pt``: the state of an unfinished step
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from pipeline.methods import build
from pipeline.settings import STEPS, Settings, differences
from psjnet import PoseNet
from shared.files import written

SAME = ("data", "root", "samples", "image_size", "backbone")  # in runs that share a generator


def step_path(out: Path, step: int) -> Path:
    """Return the path of the weights after a step."""
    return out / f"step{step}.pt"


def finished(out: Path) -> list[int]:
    """Return the steps whose weights are in a run folder."""
    return [step for step in STEPS if step_path(out, step).exists()]


def save(fabric: Fabric, path: Path, content: dict[str, Any]) -> None:
    """Write a file atomically in the first process; all processes must call this."""
    if fabric.is_global_zero:
        with written(path) as part:
            torch.save(content, part)
    fabric.barrier()


def load_weights(path: Path) -> dict[str, Any]:
    """Read a file of a run onto the CPU without executing code in it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # PyTorch raises many types for damaged files
        raise ValueError(f"{path} is damaged: remove it ({type(error).__name__})") from error


def load_settings(out: Path) -> Settings:
    """Read the settings of a run."""
    path = out / "run.json"
    try:
        return Settings(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold the settings of a run: {error}") from error


def load_run(out: Path) -> tuple[Settings, PoseNet]:
    """Read a trained model, after its last step, on the CPU and in eval mode."""
    settings, done = load_settings(out), finished(out)
    if not done:
        raise FileNotFoundError(f"{out} has no weights of any step")
    model = build(replace(settings, weights=""))
    model.load_state_dict(load_weights(step_path(out, done[-1]))["model"])
    return settings, model.eval()


def take_generator(source: Path, out: Path, settings: Settings) -> None:
    """Write ``step1.pt`` with the generator of another run, unless there is one."""
    if 1 in finished(out):
        return
    model, weights = build(settings), load_weights(step_path(source, 1))["model"]
    prefix = "generator."
    weights = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    model.generator.load_state_dict(weights)
    with written(step_path(out, 1)) as part:
        torch.save({"step": 1, "model": model.state_dict()}, part)


def check_generator(source: Path, settings: Settings) -> None:
    """Raise unless another run has a generator of this kind, trained on these hands."""
    if 1 not in finished(source):
        raise FileNotFoundError(f"{source} has no {step_path(source, 1).name}")
    theirs = load_settings(source)
    changed = differences(theirs, settings, SAME)
    if (theirs.method == "cai_literal") != (settings.method == "cai_literal"):
        changed.append(f"{theirs.method} and {settings.method} have different generators")
    if changed:
        raise ValueError(f"the generator of {source} does not fit: {'; '.join(changed)}")
