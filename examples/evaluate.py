"""Score trained runs as the paper does: Table 2 with intervals, PCK curves, pictures.

``python examples/evaluate.py runs/psjnet runs/hopenet --out runs/table2`` scores runs side by side
on the evaluation hands of their data; runs of one method are averaged.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline.hands import batches, chunks, load
from pipeline.methods import METHODS
from pipeline.pictures import curve, ranked, shown, write_curves
from pipeline.scores import RANGES, Predictions, counts, heading, markdown, predict, row
from pipeline.settings import Settings
from pipeline.store import load_run
from shared.files import write_text
from shared.pictures import save_curves, save_hands

SHOWN = 4


def main() -> None:
    """Predict and score the runs, and write tables, curves and pictures."""
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    nets: dict[str, list[Predictions]] = defaultdict(list)
    found = [load_run(run, args.step) for run in args.runs]
    seen = [settings for settings, _ in found]
    check_same_hands(seen)
    for run, (settings, model) in zip(args.runs, found, strict=True):
        hands = load(settings, "evaluation", args.samples)
        index, device = chunks(len(hands), args.batch_size), torch.device(args.device)
        source = batches(hands, tqdm(index, desc=str(run)), device, args.workers)
        title = METHODS[settings.method].title
        nets[title].append(predict(model.to(device), source, settings.image_size))
    report(nets, seen, args)
    for title, some in nets.items():
        show(hands, some[0], title, args.out)
    print(f"curves, pictures and tables are in {args.out}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders that train.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--step", type=int, help="weights after which step; the last by default")
    parser.add_argument("--samples", type=int, default=2000, help="hands; 0 for all of RHD's")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that read RHD")
    return parser.parse_args()


def check_same_hands(seen: list[Settings]) -> None:
    """Raise unless all runs are scored on the same images."""
    what = ("data", "root", "image_size")
    if len({tuple(getattr(settings, name) for name in what) for settings in seen}) > 1:
        raise ValueError(f"runs to compare must agree in {', '.join(what)}: score them one by one")


def report(
    nets: dict[str, list[Predictions]], seen: list[Settings], args: argparse.Namespace
) -> None:
    """Print and write the tables, the numbers behind them, and the curves."""
    visible = next(iter(nets.values()))[0].visible
    tables = {how: [row(title, some, how) for title, some in nets.items()] for how in RANGES}
    parts = [heading(seen[0]), counts(visible), *(markdown(r, how) for how, r in tables.items())]
    text = "\n\n".join(parts)
    print(text)
    write_text(args.out / "table2.md", text + "\n")
    runs = [asdict(settings) | {"root": ""} for settings in seen]
    numbers = {how.title: [each._asdict() for each in rows] for how, rows in tables.items()}
    content = json.dumps({"runs": runs, "tables": numbers}, indent=1, default=float)
    write_text(args.out / "table2.json", content + "\n")
    save_curves({"": nets}, curve, visible, args.out / "pck.png")
    write_curves(nets, args.out / "pck.csv")


def show(hands: object, predictions: Predictions, title: str, out: Path) -> None:
    """Draw the median and the worst images of both groups."""
    name = "".join(c if c.isalnum() else "_" for c in title).strip("_").lower()
    for group in ("small", "severe"):
        order = ranked(predictions, group).tolist()
        middle = max(0, len(order) // 2 - SHOWN // 2)
        choice = {"median": order[middle : middle + SHOWN], "worst": order[-SHOWN:]}
        for which, some in choice.items() if order else ():
            rows = [shown(predictions, hands[i].image[0], i, title) for i in some]
            path = out / f"{name}_{group}_{which}.png"
            save_hands(rows, path, f"{title}: {which} of {group} occlusion")


if __name__ == "__main__":
    main()
