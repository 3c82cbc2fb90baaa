"""What a run of the benchmark consists of: presets, and the jobs they are made of."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from handgraph.datasets import NARROW
from handgraph.detectors import HeatmapDetector, RegressionDetector

INPUTS = {
    "2D": ("uv",),
    "2D + cue": ("uv", "cue"),
    "2D + cue + score": ("uv", "cue", "confidence"),
}
"""What a method sees of each joint: position, depth cue, the detector's score."""

MAIN_INPUTS = "2D + cue"
"""The inputs that every method is tried with; others are tried on the first training set only."""

ALL_INPUTS = "2D + cue + score"
"""The inputs of all methods that choose for each sample which joints to remove."""

DETECTORS = {"heatmap": HeatmapDetector(), "regression": RegressionDetector()}
"""How detection fails, in training and in the test alike."""

HANDS = {"default": {}, "narrow": NARROW}
"""What the hands are drawn from."""

REGIMES = ("seen", "unseen")
"""Training holds the same occlusions as the test, or clean detections only."""

_RIVALS = ("cai", "hopenet", "psjnet", "ensemble")
_CONTROLS = ("unet", "random", "finger", "dropout", "visible", "mean", "gate", "literal")
_METHODS = (*_RIVALS, *_CONTROLS)

_MASKED = ("head", "mask_dropout", "learned")
_MASKED_CONTROLS = ("mask_truth", "learned_gate", "learned_channel")
_UNSEEN_CONTROLS = (
    "mask_threshold", "mask_region", "mask_finger", "mask_level", "mask_score", "learned_crude",
)  # fmt: skip

RATE_OF = {
    **dict.fromkeys(("mask_truth", *_UNSEEN_CONTROLS[:4]), "mask_dropout"),
    **dict.fromkeys(("mask_score", "learned_gate", "learned_channel", "learned_crude"), "learned"),
}
"""Controls of the masked methods are not tuned: they take the rate of what they control."""

RATES = (3e-3, 1e-2, 3e-2)
"""The learning rates that every method is tried with on validation images.

A first run tried 0.06 too. Single seeds of HopeNet collapsed at it, on the test images, so it was
dropped: the one choice that was made after a look at test images.
"""

CHOSEN_RATES = dict.fromkeys(product((*_METHODS, *_MASKED, "simulate"), REGIMES), 3e-2) | {
    ("cai", "seen"): 1e-2,
    ("cai", "unseen"): 1e-2,
}
"""What the full preset chose, on validation images, for each method and regime."""

TEST_SEED, VALIDATION_SEED, TRAIN_SEED = 3000, 2000, 1000
"""Seeds of the data. Draw k trains on seed 1000 + k; rates are chosen on validation images."""

TUNING_SEED = 100
"""Seed of the nets that rates are tried on; no net in the tables has it."""


class Row(NamedTuple):
    """A method with its inputs, its regimes, and whether it is tried on all training sets."""

    method: str
    inputs: str
    regimes: tuple[str, ...] = REGIMES
    on_all_draws: bool = True


@dataclass(frozen=True)
class Preset:
    """How much of everything.

    Args:
        rows: The rows of the table.
        num_train: Training samples.
        num_test: Test samples.
        epochs: Passes over the training samples, for every method alike.
        seeds: Seeds of nets and of the order of samples.
        draws: Training sets.
        tune: Whether rates are tuned here, or those that the full preset chose are taken.
        hands: Of which hands, by name.
        detectors: By which detectors they are seen, by name; each is a benchmark of its own.
    """

    rows: tuple[Row, ...]
    num_train: int
    num_test: int
    epochs: int
    seeds: tuple[int, ...]
    draws: tuple[int, ...]
    tune: bool
    hands: str = "default"
    detectors: tuple[str, ...] = ("heatmap",)
    num_validation: int = 4000
    batch_size: int = 256


def rows_with(inputs: str, *methods: str, all_draws: bool = True) -> tuple[Row, ...]:
    """Rows of both regimes."""
    return tuple(Row(method, inputs, on_all_draws=all_draws) for method in methods)


FULL = (
    *rows_with(MAIN_INPUTS, *_METHODS),
    *rows_with("2D", *_RIVALS, all_draws=False),
    *rows_with(ALL_INPUTS, *_RIVALS, "unet", *_MASKED),
    Row("simulate", ALL_INPUTS, ("unseen",)),
    *rows_with(ALL_INPUTS, *_MASKED_CONTROLS, all_draws=False),
    *(Row(m, ALL_INPUTS, ("unseen",), on_all_draws=False) for m in _UNSEEN_CONTROLS),
)

BY_DETECTOR = (
    *rows_with(ALL_INPUTS, "cai", "psjnet", "ensemble", "head", "mask_dropout", "learned"),
    *rows_with(ALL_INPUTS, "mask_truth", "learned_channel"),
    Row("simulate", ALL_INPUTS, ("unseen",)),
    Row("mask_score", ALL_INPUTS, ("unseen",)),
)

PRESETS = {
    "smoke": Preset(
        FULL[: len(_METHODS)] + FULL[len(_METHODS) + 2 * len(_RIVALS) + 1 :],
        num_train=512, num_test=300, epochs=1, seeds=(0,), draws=(0,), tune=False,
    ),
    "detectors": Preset(
        BY_DETECTOR, num_train=20_000, num_test=20_000, epochs=24, seeds=(0, 1, 2), draws=(0,),
        tune=False, detectors=tuple(DETECTORS),
    ),
    "quick": Preset(
        rows_with(MAIN_INPUTS, *_RIVALS) + rows_with(ALL_INPUTS, "learned"),
        num_train=8000, num_test=4000, epochs=40, seeds=(0, 1, 2), draws=(0,), tune=False,
    ),
    "full": Preset(
        FULL,
        num_train=20_000, num_test=20_000, epochs=24, seeds=(0, 1, 2), draws=(0, 1), tune=True,
        hands="narrow",
    ),
}  # fmt: skip
"""``smoke`` only shows that everything runs; its numbers mean nothing."""


RECIPE = 1
"""Version of how nets are trained: raise it, and no result of before is taken for one of now."""


@dataclass(frozen=True)
class Job:
    """One net to train and score, and all that its numbers depend on."""

    method: str
    inputs: str
    regime: str
    draw: int
    seed: int
    rate: float
    epochs: int
    num_train: int
    num_test: int
    test_seed: int
    batch_size: int
    hands: str = "default"
    detector: str = "heatmap"

    def path(self, out: Path) -> Path:
        """Where the result lies: another setting, another file."""
        settings = repr((RECIPE, sorted(asdict(self).items())))
        digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
        return out / "runs" / f"{self.method}-{self.regime}-{self.draw}-{self.seed}-{digest}.pt"


def table_jobs(preset: Preset, rates: dict[tuple[str, str], float]) -> list[Job]:
    """Every net of the table."""
    return [
        Job(
            row.method, row.inputs, regime, draw, seed,
            rates[RATE_OF.get(row.method, row.method), regime],
            preset.epochs, preset.num_train, preset.num_test, TEST_SEED, preset.batch_size,
            preset.hands, detector,
        )
        for detector in preset.detectors
        for draw in preset.draws
        for seed in preset.seeds
        for row in preset.rows
        for regime in row.regimes
        if row.on_all_draws or draw == preset.draws[0]
    ]  # fmt: skip


def tuning_jobs(preset: Preset) -> list[Job]:
    """Every method and regime at every rate, for half the epochs, scored on the validation set."""
    first = {(row.method, regime): row.inputs for row in reversed(preset.rows)
             for regime in row.regimes if row.method not in RATE_OF}  # fmt: skip
    return [
        Job(
            method, inputs, regime, 0, TUNING_SEED, rate, preset.epochs // 2,
            preset.num_train, preset.num_validation, VALIDATION_SEED, preset.batch_size,
            preset.hands, preset.detectors[0],
        )
        for (method, regime), inputs in first.items()
        for rate in RATES
    ]  # fmt: skip
