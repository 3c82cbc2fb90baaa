"""Measure how occlusion affects hand pose lifting, and whether removing joints helps.

It trains the paper's methods and additional controls on simulated hands, and prints Table 2 of the
paper for them: ``python examples/occlusion_benchmark.py --preset quick --out runs/demo``.
If the run is interrupted, the same command continues it.
"""

import argparse
import os
from operator import itemgetter
from pathlib import Path
from typing import Any

from handgraph.metrics import joint_auc, visible_mean
from occlusion.report import results_json, save_bands, shown, table2
from occlusion.running import run_all
from occlusion.settings import CHOSEN_RATES, PRESETS, Preset, table_jobs, tuning_jobs
from occlusion.table import AUC_GRID, make_rows
from shared.files import lock, write_text
from shared.pictures import save_hands


def main() -> None:
    """Read the command line, lock the folder, and run the preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--out", type=Path, default=Path("runs/occlusion"))
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args()
    with lock(args.out):
        benchmark(PRESETS[args.preset], args.out, args)


def benchmark(preset: Preset, out: Path, args: argparse.Namespace) -> None:
    """Tune if the preset does, train and score all nets, and write table and pictures."""
    tuning = tune(preset, out, args.workers) if preset.tune else []
    rates = best_rates(tuning) if preset.tune else CHOSEN_RATES
    results = run_all(table_jobs(preset, rates), out, args.workers, "training")

    rows = {}
    for detector in preset.detectors:
        found = {job: result for job, result in results.items() if job.detector == detector}
        hands = next(iter(found)).test_hands().load(out)
        rows[detector] = make_rows(found, hands["visible"])
        ending = "" if len(preset.detectors) == 1 else f"_{detector}"
        save_bands(found, hands["visible"], out / f"pck_curves{ending}.png")
        title = "Severe occlusion, unseen in training"
        save_hands(shown(found, hands), out / f"hands{ending}.png", title)
    report = table2(rows, preset, args.preset, hands["visible"])
    write_text(out / "table2.md", report + "\n")
    named = {f"{method}, {regime}": rate for (method, regime), rate in rates.items()}
    text = results_json(rows, preset, args.preset, rates=named, tuning=tuning)
    write_text(out / "results.json", text)
    print(report)
    print(f"\nWritten to {out}: table2.md, results.json, and pictures")


def tune(preset: Preset, out: Path, workers: int) -> list[dict[str, Any]]:
    """Score every method at every rate on validation images of the kind that it is trained on."""
    jobs, scores = tuning_jobs(preset), []
    visible = jobs[0].test_hands().load(out)["visible"]
    for job, result in run_all(jobs, out, workers, "tuning").items():
        errors = result["errors_clean" if job.regime == "unseen" else "errors"]
        auc = 100 * visible_mean(joint_auc(errors, AUC_GRID), visible).item()
        scores.append({"method": job.method, "regime": job.regime, "rate": job.rate, "auc": auc})
    return scores


def best_rates(scores: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the rate with the best validation AUC for each method and regime."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for score in scores:
        groups.setdefault((score["method"], score["regime"]), []).append(score)
    return {key: max(some, key=itemgetter("auc"))["rate"] for key, some in groups.items()}


if __name__ == "__main__":
    main()
