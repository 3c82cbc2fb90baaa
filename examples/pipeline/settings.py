"""What a run is: everything that its weights depend on, as one JSON file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

STEPS = (1, 2, 3, 4)
PRECISIONS = ("32-true", "bf16-mixed")
"""The paper's training steps (section 2.2)."""


@dataclass(frozen=True)
class Settings:
    """What the weights depend on.

    Args:
        method: A name of ``pipeline.methods.METHODS``.
        data: ``"synthetic"`` or ``"rhd"``.
        root: Folder of RHD.
        samples: How many hands to train on; of RHD, 0 for all.
        image_size: Side of the images in pixels, a multiple of 32.
        backbone: Net of the generator, by timm's name.
        channels: Width of the finest level of the graph U-Nets.
        encoder_channels: Width of the feature encoders.
        seed: Of the weights, of the order of the hands, of the jitter.
        batch_size: Hands of an iteration, over all processes.
        epochs: Passes over the hands in steps 1 to 4; what a method has no step for is added to
            its step 2.
        iterations: Optimiser steps in steps 1 to 4, instead of epochs.
        rates: Highest learning rate of steps 1 to 4.
        jitter: Colours change by up to this share, where the generator is trained.
        weights: A checkpoint of HRNet to start step 1 from.
        precision: Fabric's, in which everything is trained.
    """

    method: str = "psjnet"
    data: str = "synthetic"
    root: str = ""
    samples: int = 10_000
    image_size: int = 256
    backbone: str = "hrnet_w32"
    channels: int = 4
    encoder_channels: int = 256
    seed: int = 0
    batch_size: int = 32
    epochs: tuple[int, ...] = (20, 8, 4, 8)
    iterations: tuple[int, ...] = ()
    rates: tuple[float, ...] = (1e-3, 3e-3, 3e-3, 1e-3)
    jitter: float = 0.2
    weights: str = ""
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Raise unless the numbers make sense."""
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected one of {PRECISIONS}, got {self.precision!r}")
        if self.image_size % 32 or self.image_size < 32:
            raise ValueError(f"image_size: expected a multiple of 32, got {self.image_size}")
        for name in ("epochs", "iterations", "rates"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if len(values) != len(STEPS) and (values or name != "iterations"):
                raise ValueError(f"{name}: expected one number for each of 4 steps, got {values}")
        for name, least in (("samples", 0), ("batch_size", 1), ("epochs", 0), ("iterations", 0)):
            given = getattr(self, name)
            if min(given if isinstance(given, tuple) else (given,), default=least) < least:
                raise ValueError(f"{name}: expected {least} or more, got {given}")
        if not all(0 <= rate < math.inf for rate in self.rates):
            raise ValueError(f"rates: expected finite numbers, 0 or more, got {self.rates}")
        if (self.data == "rhd") != bool(self.root):
            raise ValueError(f"root: needed for rhd and for nothing else, got {self.root!r}")

    def length(self, step: int, own_steps: tuple[int, ...], num_samples: int) -> int:
        """Iterations of a step of a method that has these steps."""
        also = [s for s in STEPS if s not in own_steps] if step == 2 else []
        per_epoch = num_samples // self.batch_size
        each = self.iterations or tuple(e * per_epoch for e in self.epochs)
        return sum(each[s - 1] for s in (step, *also))

    def to_json(self) -> str:
        """Write all fields, for :func:`from_json`."""
        return json.dumps(asdict(self), indent=1) + "\n"


def from_json(text: str) -> Settings:
    """Read what :meth:`Settings.to_json` wrote."""
    return Settings(**json.loads(text))


def differences(old: Settings, new: Settings, but: tuple[str, ...] = ()) -> list[str]:
    """Name the fields that differ, with both values."""

    def say(name: str) -> str:
        return f"{name} was {getattr(old, name)!r}, is {getattr(new, name)!r}"

    names: list[Any] = [f.name for f in fields(Settings) if f.name not in but]
    return [say(name) for name in names if getattr(old, name) != getattr(new, name)]
