"""The settings that the weights of a run depend on, as one JSON file."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from shared.training import Recipe, warm_cosine

STEPS = (1, 2, 3, 4)  # of the paper's training (section 2.2)
CHOICES = {"data": ("synthetic", "rhd"), "precision": ("32-true", "bf16-mixed")}


@dataclass(frozen=True)
class Settings:
    """The settings that the weights depend on."""

    method: str = "psjnet"  # a name of pipeline.methods.METHODS
    data: str = "synthetic"  # or "rhd", which is read from root
    root: str = ""
    samples: int = 10_000  # hands to train on; of RHD, 0 for all
    image_size: int = 256  # side in pixels, a multiple of 32
    backbone: str = "hrnet_w32"  # net of the generator, by timm's name
    channels: int = 4  # width of the finest level of the graph U-Nets
    encoder_channels: int = 256  # width of the feature encoders
    seed: int = 0  # of the weights, of the order of the hands, of the jitter
    batch_size: int = 32  # over all processes
    epochs: tuple[int, ...] = (20, 8, 4, 8)  # passes over the hands in steps 1 to 4
    iterations: tuple[int, ...] = ()  # optimiser steps in steps 1 to 4, instead of epochs
    rates: tuple[float, ...] = (1e-3, 3e-3, 3e-3, 1e-3)  # highest learning rates
    jitter: float = 0.2  # largest relative change of colours, if the generator is trained
    weights: str = ""  # a checkpoint of HRNet to start step 1 from
    precision: str = "32-true"  # in Fabric's notation

    def __post_init__(self) -> None:
        """Raise unless all values are valid."""
        for name, choices in CHOICES.items():
            given = getattr(self, name)
            if given not in choices:
                raise ValueError(f"{name}: expected one of {choices}, got {given!r}")
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

    def recipe(self, step: int) -> Recipe:
        """Return the settings of the training loop in a step."""
        return Recipe(self.rates[step - 1], self.batch_size, 1e-4, warm_cosine)

    def length(self, step: int, own_steps: tuple[int, ...], num_samples: int) -> int:
        """Return the iterations of a step; step 2 adds those of steps that the method lacks."""
        each = self.iterations or [e * (num_samples // self.batch_size) for e in self.epochs]
        also = set(STEPS) - set(own_steps) if step == 2 else set()
        return sum(each[s - 1] for s in {step} | also)

    def to_json(self) -> str:
        """Write all fields; ``Settings(**json.loads(text))`` reads them."""
        return json.dumps(asdict(self), indent=1) + "\n"


def differences(old: Settings, new: Settings, names: Iterable[str] = ()) -> list[str]:
    """Return which fields differ, with both values; only the named fields, if there are any."""
    first, second = asdict(old), asdict(new)
    changed = [name for name in names or first if first[name] != second[name]]
    return [f"{name} was {first[name]!r}, is {second[name]!r}" for name in changed]
