"""Presets of the benchmark, and the jobs that they consist of."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from handgraph.datasets import NARROW
from handgraph.detectors import HeatmapDetector, RegressionDetector
from shared.training import Recipe

INPUTS = {
    "2D": ("uv",),
    "2D + cue": ("uv", "cue"),
    "2D + cue + score": ("uv", "cue", "confidence"),
}
"""Inputs of a method for each joint: position, depth cue, the detector's score."""

MAIN_INPUTS = "2D + cue"
"""The inputs of the main comparison."""

ALL_INPUTS = "2D + cue + score"
"""The inputs of all methods that remove joints per sample."""

DETECTORS = {"heatmap": HeatmapDetector(), "regression": RegressionDetector()}
"""Detector models, the same in training and in the test."""

HANDS = {"default": {}, "narrow": NARROW}
"""Distributions that the hands are drawn from."""

REGIMES = ("seen", "unseen")
"""Training has the same occlusion as the test, or clean detections only."""

_RIVALS = ("cai", "hopenet", "psjnet", "ensemble")
_CONTROLS = ("unet", "random", "finger", "dropout", "visible", "mean", "gate", "literal")
_METHODS = (*_RIVALS, *_CONTROLS)

_MASKED = ("head", "mask_dropout", "learned")
_MASKED_CONTROLS = ("mask_truth", "learned_gate", "learned_channel")
_UNSEEN_CONTROLS = (
    "mask_threshold", "mask_region", "mask_finger", "mask_level", "mask_score", "learned_crude",
)  # fmt: skip

_LAYERS = ("gcn", "graph", "cheb", "gat", "transformer", "sem", "modulated", "agcn")
"""Convolutions in the same U-Net."""

RATE_OF = {
    **dict.fromkeys(("mask_truth", *_UNSEEN_CONTROLS[:4]), "mask_dropout"),
    **dict.fromkeys(("mask_score", "learned_gate", "learned_channel", "learned_crude"), "learned"),
}
"""Controls of the masked methods, and the method whose tuned rate each of them takes."""

RATES = (3e-3, 1e-2, 3e-2)
"""The learning rates of the tuning, which scores every method on validation images.

A rate of 0.06 is excluded, because single seeds of HopeNet collapse on the test images with it.
This is the only choice that depends on test images.
"""

CHOSEN_RATES = dict.fromkeys(product((*_METHODS, *_MASKED, "simulate"), REGIMES), 3e-2) | {
    ("cai", "seen"): 1e-2,
    ("cai", "unseen"): 1e-2,
    **dict.fromkeys(product(_LAYERS, REGIMES), 1e-2),
}
"""Rates that the full preset chose on validation images by method and regime; layers share one."""

TEST_SEED, VALIDATION_SEED, TRAIN_SEED = 3000, 2000, 1000
"""Seeds of the data. Draw k trains on seed 1000 + k; rates are chosen on validation images."""

TUNING_SEED = 100
"""Seed of the nets in the tuning; no net in the tables has it."""


class Row(NamedTuple):
    """A method with its inputs, its regimes, and whether it is trained on all training sets."""

    method: str
    inputs: str
    regimes: tuple[str, ...] = REGIMES
    on_all_draws: bool = True


@dataclass(frozen=True)
class Preset:
    """Rows of the table, and sizes of data and training."""

    rows: tuple[Row, ...]  # of the table
    num_train: int  # samples
    num_test: int
    epochs: int  # passes over the training samples, for every method alike
    seeds: tuple[int, ...]  # of nets and of the order of samples
    draws: tuple[int, ...]  # training sets
    tune: bool  # tune rates, or take those that the full preset chose
    hands: str = "default"
    detectors: tuple[str, ...] = ("heatmap",)  # each is a benchmark of its own
    num_validation: int = 4000
    batch_size: int = 256


def rows(inputs: str, *methods: str, **options: object) -> tuple[Row, ...]:
    """Return rows with the same inputs."""
    return tuple(Row(method, inputs, **options) for method in methods)


FULL = (
    *rows(MAIN_INPUTS, *_METHODS),
    *rows("2D", *_RIVALS, on_all_draws=False),
    *rows(ALL_INPUTS, *_RIVALS, "unet", *_MASKED),
    *rows(ALL_INPUTS, "simulate", regimes=("unseen",)),
    *rows(ALL_INPUTS, *_MASKED_CONTROLS, on_all_draws=False),
    *rows(ALL_INPUTS, *_UNSEEN_CONTROLS, regimes=("unseen",), on_all_draws=False),
)

BY_DETECTOR = (
    *rows(ALL_INPUTS, "cai", "psjnet", "ensemble", "head", "mask_dropout", "learned"),
    *rows(ALL_INPUTS, "mask_truth", "learned_channel"),
    *rows(ALL_INPUTS, "simulate", "mask_score", regimes=("unseen",)),
)

_THREE = {"epochs": 24, "seeds": (0, 1, 2), "num_train": 20_000, "num_test": 20_000}

PRESETS = {
    "smoke": Preset(
        FULL[: len(_METHODS)] + FULL[len(_METHODS) + 2 * len(_RIVALS) + 1 :],
        num_train=512, num_test=300, epochs=1, seeds=(0,), draws=(0,), tune=False,
    ),
    "detectors": Preset(
        BY_DETECTOR, draws=(0,), tune=False, detectors=tuple(DETECTORS), **_THREE,
    ),
    "layers": Preset(
        rows(MAIN_INPUTS, "hopenet", *_LAYERS),
        num_train=4000, num_test=4000, epochs=15, seeds=(0, 1, 2), draws=(0,), tune=False,
        batch_size=128,
    ),
    "quick": Preset(
        rows(MAIN_INPUTS, *_RIVALS) + rows(ALL_INPUTS, "learned"),
        num_train=8000, num_test=4000, epochs=40, seeds=(0, 1, 2), draws=(0,), tune=False,
    ),
    "full": Preset(FULL, draws=(0, 1), tune=True, **_THREE),
}  # fmt: skip
"""``smoke`` only checks that everything runs; its numbers have no meaning."""

RECIPE = 1
"""Version of the training; if it is raised, stored results of other versions are not used."""


@dataclass(frozen=True)
class Job:
    """One net to train and score, with all settings that its results depend on."""

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

    def recipe(self) -> Recipe:
        """Return the settings of the training loop."""
        return Recipe(self.rate, self.batch_size, fused=True)

    def path(self, out: Path) -> Path:
        """Return the path of the result, which differs if any setting differs."""
        settings = repr((RECIPE, sorted(asdict(self).items())))
        digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
        return out / "runs" / f"{self.method}-{self.regime}-{self.draw}-{self.seed}-{digest}.pt"


def table_jobs(preset: Preset, rates: dict[tuple[str, str], float]) -> list[Job]:
    """Return a job for every net of the table."""
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
    """Return jobs for every method, regime and rate, with half the epochs and validation images."""
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
