"""Score trained runs as the paper does: Table 2 with intervals, PCK curves, pictures.

``python examples/evaluate.py runs/psjnet runs/hopenet --out runs/table2`` scores runs side by side
on the evaluation hands of their data; runs of one method are averaged.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Dataset
from tqdm import tqdm

from handgraph.metrics import Interval, bootstrap_pck, occlusion_groups, pck_curve
from pipeline.hands import batches, chunks, load
from pipeline.methods import METHODS
from pipeline.scores import RANGES, Predictions, counts, heading, markdown, mean, predict, row
from pipeline.settings import Settings
from pipeline.store import load_run
from shared.files import write_text
from shared.pictures import GRID, Shown, save_curves, save_hands

Nets = dict[str, list[Predictions]]  # of the runs, by method title
SHOWN = 4  # hands in a picture


def main() -> None:
    """Predict and score the runs, and write tables, curves and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders that train.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=2000, help="hands; 0 for all of RHD")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that read RHD")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    nets: Nets = defaultdict(list)
    found = [load_run(run) for run in args.runs]
    seen = [settings for settings, _ in found]
    check_same_hands(seen)
    hands = load(seen[0], "evaluation", args.samples)
    for run, (settings, model) in zip(args.runs, found, strict=True):
        index, device = chunks(range(len(hands)), args.batch_size), torch.device(args.device)
        source = batches(hands, tqdm(index, desc=str(run)), device, args.workers)
        title = METHODS[settings.method].title
        nets[title].append(predict(model.to(device), source, settings.image_size))
    report(nets, seen, args.out)
    for title, some in nets.items():
        show(hands, some[0], title, args.out)
    print(f"curves, pictures and tables are in {args.out}")


def check_same_hands(seen: list[Settings]) -> None:
    """Raise unless all runs are scored on the same images."""
    what = ("data", "root", "image_size")
    if len({tuple(getattr(settings, name) for name in what) for settings in seen}) > 1:
        raise ValueError(f"runs to compare must agree in {', '.join(what)}: score them one by one")


def report(nets: Nets, seen: list[Settings], out: Path) -> None:
    """Print and write the tables, the numbers behind them, and the curves."""
    visible = next(iter(nets.values()))[0].visible
    tables = {how: [row(title, some, how) for title, some in nets.items()] for how in RANGES}
    parts = [heading(seen[0]), counts(visible), *(markdown(r, how) for how, r in tables.items())]
    text = "\n\n".join(parts)
    print(text)
    write_text(out / "table2.md", text + "\n")
    runs = [asdict(settings) | {"root": ""} for settings in seen]
    numbers = {how.title: [each._asdict() for each in rows] for how, rows in tables.items()}
    content = json.dumps({"runs": runs, "tables": numbers}, indent=1, default=float)
    write_text(out / "table2.json", content + "\n")
    save_curves({"": nets}, curve, visible, out / "pck.png")
    write_text(out / "pck.csv", curves_csv(nets))


def curve(nets: list[Predictions], images: Tensor) -> Interval:
    """Return the curve of the first net of a method, with its interval over the images."""
    rng, first = torch.Generator().manual_seed(0), nets[0]
    return bootstrap_pck(first.errors()[images], GRID, first.visible[images], generator=rng)


def curves_csv(nets: Nets) -> str:
    """Format the mean curves over nets as CSV: method, group, millimetres, pck."""
    lines = ["method,group,millimetres,pck"]
    for title, some in nets.items():
        for group, images in occlusion_groups(some[0].visible).items():
            values = mean(pck_curve(n.errors()[images], GRID, n.visible[images]) for n in some)
            cells = zip((1000 * GRID).tolist(), values.tolist(), strict=True)
            lines += [f'"{title}",{group},{mm:g},{pck:.6f}' for mm, pck in cells]
    return "\n".join([*lines, ""])


def ranked(net: Predictions, group: str) -> list[int]:
    """Return the images of a group that have visible joints, sorted by error, best first."""
    errors = net.errors().where(net.visible, torch.nan).nanmean(dim=1)
    images = occlusion_groups(net.visible)[group] & net.visible.any(dim=1)
    return [i for i in errors.argsort().tolist() if images[i]]


def show(hands: Dataset, net: Predictions, title: str, out: Path) -> None:
    """Draw true and predicted hands of the median and the worst images of both groups."""
    name = "".join(c if c.isalnum() else "_" for c in title).strip("_").lower()
    for group in ("small", "severe"):
        order = ranked(net, group)
        middle = max(0, len(order) // 2 - SHOWN // 2)
        choice = {"median": order[middle : middle + SHOWN], "worst": order[-SHOWN:]}
        for which, images in choice.items():
            rows = []
            for i in images:
                joints = net.visible[i], net.true_uv[i], net.uv[i], net.true_xyz[i]
                rows.append(Shown(f"image {i}", *joints, {title: net.xyz[i]}, hands[i].image[0]))
            if rows:
                path = out / f"{name}_{group}_{which}.png"
                save_hands(rows, path, f"{title}: {which} of {group} occlusion")


if __name__ == "__main__":
    main()
