"""Presets of the benchmark, and the jobs that they consist of."""

import hashlib
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from handgraph.datasets import SyntheticHands
from handgraph.detectors import HeatmapDetector, RegressionDetector
from shared.lifters import Hands
from shared.training import Recipe

INPUTS = {
    "2D": ("uv",),
    "2D + cue": ("uv", "cue"),
    "2D + cue + score": ("uv", "cue", "confidence"),
}
"""Inputs of a method for each joint: position, depth cue, the detector's score."""

MAIN_INPUTS, ALL_INPUTS = "2D + cue", "2D + cue + score"
"""The inputs of the main comparison, and of all methods that remove joints per sample."""

DETECTORS = {"heatmap": HeatmapDetector(), "regression": RegressionDetector()}
"""Detector models, the same in training and in the test."""

REGIMES = ("seen", "unseen")  # in training: the occlusion of the test, or clean detections only

_RIVALS = ("cai", "hopenet", "psjnet", "ensemble")
_CONTROLS = ("unet", "random", "finger", "dropout", "visible", "mean", "gate", "literal")
_METHODS = (*_RIVALS, *_CONTROLS)

_MASKED = ("head", "mask_dropout", "learned")
_MASKED_CONTROLS = ("mask_truth", "learned_gate", "learned_channel")
_MASKS = ("mask_threshold", "mask_region", "mask_finger", "mask_level")
_UNSEEN_CONTROLS = (*_MASKS, "mask_score", "learned_crude")

_LAYERS = ("gcn", "graph", "cheb", "gat", "transformer", "sem", "modulated", "agcn")
"""Convolutions in the same U-Net."""

RATE_OF = {
    **dict.fromkeys(("mask_truth", *_MASKS), "mask_dropout"),
    **dict.fromkeys(("mask_score", "learned_gate", "learned_channel", "learned_crude"), "learned"),
}
"""Controls of the masked methods, and the method whose tuned rate each of them takes."""

RATES = (3e-3, 1e-2, 3e-2)
"""The learning rates of the tuning, which scores every method on validation images.

A rate of 0.06 is excluded, because single seeds of HopeNet collapse on the test images with it.
This is the only choice that depends on test images.
"""

CHOSEN_RATES = dict.fromkeys(product((*_METHODS, *_MASKED, "simulate"), REGIMES), 3e-2)
CHOSEN_RATES |= dict.fromkeys(product(("cai", *_LAYERS), REGIMES), 1e-2)
"""Rates that the full preset chose on validation images by method and regime; layers share one."""

TEST_SEED, VALIDATION_SEED, TRAIN_SEED, TUNING_SEED = 3000, 2000, 1000, 100
"""Seeds of the data, and of the nets in the tuning; no net in the tables has this seed.

Draw k trains on hands of seed 1000 + k. Rates are chosen on validation images.
"""


class Row(NamedTuple):
    """A method with its inputs, its regimes, and whether it is trained on all training sets."""

    method: str
    inputs: str
    regimes: tuple[str, ...] = REGIMES
    on_all_draws: bool = True

    def rate(self, rates: dict[tuple[str, str], float], regime: str) -> float:
        """Return the tuned rate of the method, or of the method whose rate it takes."""
        return rates[RATE_OF.get(self.method, self.method), regime]


@dataclass(frozen=True)
class Preset:
    """Rows of the table, and sizes of data and training; the defaults are those of a full run."""

    rows: tuple[Row, ...]  # of the table
    num_train: int = 20_000  # samples
    num_test: int = 20_000
    epochs: int = 24  # passes over the training samples, the same for every method
    seeds: tuple[int, ...] = (0, 1, 2)  # of nets and of the order of samples
    draws: tuple[int, ...] = (0,)  # training sets
    tune: bool = False  # tune rates, or take those that the full preset chose
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

_SMOKE = FULL[: len(_METHODS)] + FULL[len(_METHODS) + 2 * len(_RIVALS) + 1 :]
_QUICK = rows(MAIN_INPUTS, *_RIVALS) + rows(ALL_INPUTS, "learned")

PRESETS = {
    "smoke": Preset(_SMOKE, num_train=512, num_test=300, epochs=1, seeds=(0,)),
    "detectors": Preset(BY_DETECTOR, detectors=tuple(DETECTORS)),
    "layers": Preset(rows(MAIN_INPUTS, "hopenet", *_LAYERS), 4000, 4000, 15, batch_size=128),
    "quick": Preset(_QUICK, num_train=8000, num_test=4000, epochs=40),
    "full": Preset(FULL, draws=(0, 1), tune=True),
}
"""``smoke`` only checks that all methods run; its numbers have no meaning."""

VERSION = 1
"""Version of the training; if it is raised, stored results of other versions are not used."""


class Source(NamedTuple):
    """A set of simulated hands: their number, seed and detector."""

    num_samples: int
    seed: int
    detector: str

    def load(self, out: Path) -> Hands:
        """Simulate the hands, or read them from the cache."""
        options = {"detector": DETECTORS[self.detector], "root": out / "data", "progress": False}
        return SyntheticHands(self.num_samples, seed=self.seed, **options).tensors


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
    detector: str = "heatmap"

    def recipe(self) -> Recipe:
        """Return the settings of the training loop."""
        return Recipe(self.rate, self.batch_size, fused=True)

    def training_hands(self) -> Source:
        """Return the hands to train on."""
        return Source(self.num_train, TRAIN_SEED + self.draw, self.detector)

    def test_hands(self) -> Source:
        """Return the hands to score."""
        return Source(self.num_test, self.test_seed, self.detector)

    def path(self, out: Path) -> Path:
        """Return the path of the result, which differs if any setting differs."""
        fields = asdict(self) | {"hands": "default"}  # keeps the names of stored results
        settings = repr((VERSION, sorted(fields.items())))
        digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
        return out / "runs" / f"{self.method}-{self.regime}-{self.draw}-{self.seed}-{digest}.pt"


def table_jobs(preset: Preset, rates: dict[tuple[str, str], float]) -> list[Job]:
    """Return a job for every net of the table."""
    sizes = (preset.epochs, preset.num_train, preset.num_test, TEST_SEED, preset.batch_size)
    return [
        Job(row.method, row.inputs, regime, draw, seed, row.rate(rates, regime), *sizes, detector)
        for detector in preset.detectors
        for draw in preset.draws
        for seed in preset.seeds
        for row in preset.rows
        for regime in row.regimes
        if row.on_all_draws or draw == preset.draws[0]
    ]


def tuning_jobs(preset: Preset) -> list[Job]:
    """Return a job for every method, regime and rate: half the epochs, validation images."""
    samples = (preset.num_train, preset.num_validation, VALIDATION_SEED)
    sizes = (preset.epochs // 2, *samples, preset.batch_size, preset.detectors[0])
    first = {(row.method, regime): row for row in reversed(preset.rows) for regime in row.regimes}
    return [
        Job(method, row.inputs, regime, 0, TUNING_SEED, rate, *sizes)
        for (method, regime), row in first.items()
        for rate in RATES
        if method not in RATE_OF
    ]
