"""Measure how well simulated hands cover real hands.

``python -m benchmarks.realism --real FILE.npz``. The file contains ``xyz [n, 21, 3]``: right hands
in metres, in the order of ``HAND``. Without a file, simulated hands of another seed are used.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from benchmarks.machine import machine, write
from handgraph.datasets import SyntheticHands
from handgraph.datasets.hand_frame import HandMeasures, measure, sideways
from handgraph.metrics import joint_errors, procrustes_align
from handgraph.skeletons import FINGERS

Array = NDArray[np.float64]

NEAR = 10.0
"""Distance within which a simulated hand covers a real one, millimetres."""

CANDIDATES = 40
"""Number of hands with the lowest root mean square distance, which are compared exactly."""

STRAIGHT, BENT = 60.0, 20.0
"""Largest MCP flexion for abduction, and smallest PIP flexion for the ratio DIP / PIP, degrees."""


def nearest(hands: Tensor, simulated: Tensor) -> Tensor:
    """Return the distance of each hand to the nearest simulated one after alignment, in mm.

    Shapes:
        hands: ``[n, 21, 3]``; simulated: ``[m, 21, 3]``; output: ``[n]``.
    """
    others = simulated - simulated.mean(dim=1, keepdim=True)
    sizes = others.square().sum(dim=(1, 2))
    distances = []
    for hand in tqdm(hands - hands.mean(dim=1, keepdim=True), desc="nearest", disable=None):
        cross = others.mT @ hand
        values = torch.linalg.svdvals(cross)
        values[:, 2] *= torch.linalg.det(cross).sign()
        residual = -values.sum(dim=1).square() / sizes
        some = others[residual.topk(CANDIDATES, largest=False).indices]
        target = hand.expand_as(some)
        errors = joint_errors(procrustes_align(some, target), target)
        distances.append(errors.mean(dim=1).min())
    return 1000 * torch.stack(distances)


def rows(xyz: Tensor) -> dict[str, Array]:
    """Return proportions (in keybones) and angles (in degrees), NaN where they are undefined."""
    hands = measure(xyz.numpy())
    return {**_proportions(hands), **_angles(hands)}


def _proportions(hands: HandMeasures) -> dict[str, Array]:
    keybone = hands.lengths[:, FINGERS.index("middle"), 0]
    width = np.linalg.norm(hands.bases[:, 1] - hands.bases[:, 4], axis=-1)
    found = {"palm width": width / keybone}
    for finger, base, lengths in zip(
        FINGERS, hands.bases.swapaxes(0, 1), hands.lengths.swapaxes(0, 1), strict=True
    ):
        found[f"{finger}, wrist to mcp"] = np.linalg.norm(base, axis=-1) / keybone
        for bone, length in zip(("mcp-pip", "pip-dip", "dip-tip"), lengths.T, strict=True):
            found[f"{finger}, {bone}"] = length / keybone
    del found["middle, mcp-pip"]  # the keybone itself
    return found


def _angles(hands: HandMeasures) -> dict[str, Array]:
    thumb = hands.bases[:, FINGERS.index("thumb")]
    reach = np.linalg.norm(thumb, axis=-1)
    found = {
        "thumb base, azimuth": sideways(thumb),
        "thumb base, elevation": np.degrees(np.arcsin(thumb[:, 2] / reach)),
    }
    for place, finger in enumerate(FINGERS):
        mcp, pip, dip = hands.flexion[:, place].T
        abduction = np.where(mcp <= STRAIGHT, hands.abduction[:, place], np.nan)
        found |= {f"{finger}, mcp": mcp, f"{finger}, pip": pip, f"{finger}, dip": dip}
        found[f"{finger}, abduction"] = abduction
        if finger != "thumb":
            found[f"{finger}, dip / pip"] = np.where(
                pip > BENT, dip / np.maximum(pip, BENT), np.nan
            )
    return found


def compare(real: dict[str, Array], simulated: dict[str, Array]) -> list[dict[str, Any]]:
    """Return the share of real hands outside the central 99.8 % of simulated hands, by quantity."""
    table = []
    for name, values in real.items():
        known = values[~np.isnan(values)]
        low, high = np.nanpercentile(simulated[name], [0.1, 99.9])
        quartiles = (np.nanpercentile(x, [5, 50, 95]).tolist() for x in (known, simulated[name]))
        outside = float(((known < low) | (known > high)).mean()) if len(known) else 0.0
        keys = ("real", "simulated")
        table.append({"name": name, **dict(zip(keys, quartiles, strict=True)), "outside": outside})
    return table


def draw(real: dict[str, Array], simulated: dict[str, Array], path: Path) -> None:
    """Draw histograms of all rows, with real hands over simulated ones."""
    from matplotlib.figure import Figure

    columns = 7
    figure = Figure(figsize=(2.1 * columns, 1.5 * -(-len(real) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(real) // columns), columns).ravel()
    for ax, name in zip(axes, real, strict=False):
        both = [x[~np.isnan(x)] for x in (simulated[name], real[name])]
        span = np.percentile(np.concatenate(both), [0.2, 99.8])
        bins = np.linspace(span[0], span[1], 40)
        for values, color in zip(both, ("#999999", "#D55E00"), strict=True):
            ax.hist(values, bins, density=True, color=color, alpha=0.6)
        simulated_density, _ = np.histogram(both[0], bins, density=True)
        ax.set_ylim(0, 3 * simulated_density.max())  # bones of few persons form high peaks
        ax.set_title(name, fontsize=7)
        ax.tick_params(labelsize=5, left=False, labelleft=False)
    for ax in axes[len(real) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=90)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.realism", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--real", type=Path, help="npz with xyz [n, 21, 3] in metres")
    parser.add_argument("--samples", type=int, default=20_000, help="simulated hands")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument(
        "--most", type=int, default=400, help="maximum number of real hands to match"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--picture", type=Path, help="picture of the histograms to write")
    return parser.parse_args(arguments)


def load(path: Path | None, number: int, seed: int) -> Tensor:
    """Load real hands, or simulate hands with another seed if there is no file."""
    if path is None:
        return SyntheticHands(number, seed=seed + 1, progress=False).tensors["xyz"].double()
    with np.load(path) as file:
        return torch.from_numpy(file["xyz"]).double()


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the results and write the JSON file and the picture."""
    args = parse(arguments)
    simulated = SyntheticHands(args.samples, seed=args.seed).tensors["xyz"].double()
    real = load(args.real, args.most, args.seed)
    step = -(-len(real) // args.most)
    distance = nearest(real[::step], simulated)
    found = rows(real), rows(simulated)
    table = compare(*found)
    beyond = (distance > NEAR).double().mean().item()
    print(f"{len(distance)} hands, {args.samples} simulated: nearest {distance.median():.1f} mm")
    print(f"beyond {NEAR:g} mm: {100 * beyond:.0f} %")
    for row in table:
        print(f"{row['name']:24s} {100 * row['outside']:4.0f} % outside")
    if args.picture:
        draw(*found, args.picture)
    if args.out:
        names = {"real": args.real.stem if args.real else "simulated", "num_real": len(real)}
        numbers = {"median_mm": distance.median().item(), "beyond": beyond}
        settings = {"samples": args.samples, "seed": args.seed, **names, **numbers}
        about = {"benchmark": "realism", "quick": False}
        about["machine"] = machine(torch.device("cpu"))
        write({**about, **settings, "rows": table}, args.out)


if __name__ == "__main__":
    main()
