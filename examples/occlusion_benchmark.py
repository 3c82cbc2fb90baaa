"""Measure the effect of occlusion on hand pose lifting, and of removing joints from branches.

Trains the paper's methods and additional controls on simulated hands, and prints Table 2 of the
paper for them: ``python examples/occlusion_benchmark.py --preset quick --out runs/demo``.
If the run is interrupted, the same command continues it.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from handgraph.metrics import joint_auc, thresholds, visible_mean
from occlusion.inputs import Source, load
from occlusion.pictures import save_bands, shown
from occlusion.report import results_json, table2
from occlusion.running import run_all
from occlusion.settings import (
    CHOSEN_RATES,
    PRESETS,
    TEST_SEED,
    VALIDATION_SEED,
    Preset,
    table_jobs,
    tuning_jobs,
)
from occlusion.table import make_rows
from shared.files import lock, write_text
from shared.pictures import save_hands


def main() -> None:
    """Read the command line, lock the folder, and run the preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--out", type=Path, default=Path("runs/occlusion"))
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--seeds", type=int, help="how many seeds, instead of the preset's")
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    if args.seeds is not None:
        preset = replace(preset, seeds=tuple(range(args.seeds)))
    with lock(args.out):
        benchmark(preset, args.out, args)


def benchmark(preset: Preset, out: Path, args: argparse.Namespace) -> None:
    """Tune if the preset does, train and score all nets, and write table and pictures."""
    tuning = tune(preset, out, args.workers) if preset.tune else []
    rates = best_rates(tuning) if preset.tune else CHOSEN_RATES
    results = run_all(table_jobs(preset, rates), out, args.workers, "training")

    rows = {}
    for detector in preset.detectors:
        hands = load(Source(preset.num_test, TEST_SEED, preset.hands, detector), out)
        found = {job: result for job, result in results.items() if job.detector == detector}
        rows[detector] = make_rows(found, hands["visible"])
        ending = "" if len(preset.detectors) == 1 else f"_{detector}"
        save_bands(found, hands["visible"], out / f"pck_curves{ending}.png")
        title = "Severe occlusion, unseen in training"
        save_hands(shown(found, hands), out / f"hands{ending}.png", title)
    report = table2(rows, preset, args.preset, hands["visible"])
    write_text(out / "table2.md", report + "\n")
    write_text(out / "results.json", results_json(rows, preset, args.preset, rates, tuning))
    print(report)
    print(f"\nWritten to {out}: table2.md, results.json, and pictures")


def tune(preset: Preset, out: Path, workers: int) -> list[dict[str, Any]]:
    """Score every method at every rate on validation images of the kind that it is trained on."""
    results = run_all(tuning_jobs(preset), out, workers, "tuning")
    hands = Source(preset.num_validation, VALIDATION_SEED, preset.hands, preset.detectors[0])
    visible = load(hands, out)["visible"]
    scores = []
    for job, result in results.items():
        errors = result["errors_clean" if job.regime == "unseen" else "errors"]
        area = joint_auc(errors, thresholds())
        auc = 100 * visible_mean(area, visible).item()
        scores.append({"method": job.method, "regime": job.regime, "rate": job.rate, "auc": auc})
    return scores


def best_rates(scores: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the rate with the best validation AUC for each method and regime."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for score in scores:
        key = (score["method"], score["regime"])
        best[key] = max(best.get(key, score), score, key=lambda each: each["auc"])
    return {key: score["rate"] for key, score in best.items()}


if __name__ == "__main__":
    main()
