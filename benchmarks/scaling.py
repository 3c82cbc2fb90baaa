"""Measure how time and memory grow with batch size, joints, branches and depth.

``python -m benchmarks.scaling --out FILE --picture FILE``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.compare import Row, compare, to_device, too_large
from benchmarks.contestants import (
    FOLDED,
    HOPE_NET,
    NORMALIZED_ONCE,
    OURS,
    PHASES,
    by_engine,
    equal_forms,
)
from benchmarks.machine import machine, write
from benchmarks.sizes import Core, poses, scaled_core, seeded
from benchmarks.timing import Plan

NAMES = (HOPE_NET, NORMALIZED_ONCE, OURS, FOLDED)


class Point(NamedTuple):
    """Sizes of a measurement, one of which is varied at a time."""

    batch: int = 256
    joints: int = 21
    branches: int = 4
    depth: int = 4


AXES: dict[str, list[Point]] = {
    "batch": [Point(batch=4**i) for i in range(9)],
    "joints": [Point(joints=j) for j in (5, 16, 32, 64, 128, 256, 512)],
    "branches": [Point(branches=2**i) for i in range(7)],
    "depth": [Point(joints=64, depth=d) for d in range(1, 7)],
}
QUICK_AXES = {
    axis: points[:n] for (axis, points), n in zip(AXES.items(), (6, 5, 5, 4), strict=True)
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--axes", default=list(AXES), nargs="+", choices=list(AXES))
    parser.add_argument("--phase", default="forward", choices=list(PHASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, few rounds")
    parser.add_argument("--limit", type=float, default=5.0, help="skip slower calls, seconds")
    parser.add_argument("--memory", type=float, default=8.0, help="skip larger calls, GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--picture", type=Path, help="picture to write (needs matplotlib)")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> Iterator[Row]:
    """Yield one row per contestant and point."""
    axes = QUICK_AXES if args.quick else AXES
    bar = tqdm(total=sum(len(axes[axis]) for axis in args.axes), desc="points", disable=None)
    for axis in args.axes:
        rows: list[Row] = []
        for last, point in zip([axes[axis][0], *axes[axis]], axes[axis], strict=False):
            growth = getattr(point, axis) / getattr(last, axis)
            rows = _rows(args, point, rows, growth)
            for row in rows:
                yield {"axis": axis, "value": getattr(point, axis), **row}
            bar.update()
    bar.close()


def _rows(
    args: argparse.Namespace, point: Point, before: Sequence[Row], growth: float
) -> list[Row]:
    def make() -> Core:
        return scaled_core(point.joints, point.branches, point.depth)

    device = torch.device(args.device)
    core = seeded(make, args.seed)
    same = [c for c in equal_forms(core) if c.name in NAMES]
    chosen = [*same, *by_engine(same, device.type)]
    stay, left_out = too_large(to_device(chosen, device), before, growth, args.limit, args.memory)
    inputs = [x.to(device) for x in poses(point.batch, point.joints, 4, args.seed)]
    plan = Plan(rounds=9, budget=0.3 if args.quick else 1.0, min_rounds=3, seed=args.seed)
    return [*compare(core.to(device), stay, args.phase, inputs, plan), *left_out]


def slope(values: Sequence[float], times: Sequence[float]) -> float:
    """Return the exponent of growth: the log-log slope of the upper half of the points."""
    half = len(values) // 2 if len(values) > 3 else 0
    x, y = np.log(values[half:]), np.log(times[half:])
    return float(np.polyfit(x, y, 1)[0])


def slopes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Fit the growth of time and memory of each contestant along each axis."""
    found = []
    for axis, name in dict.fromkeys((row["axis"], row["name"]) for row in rows):
        line = [r for r in rows if (r["axis"], r["name"]) == (axis, name) and "hot" in r]
        if len(line) > 1:
            values = [row["value"] for row in line]
            fits = {
                "time": slope(values, [row["hot"]["median"] for row in line]),
                "memory": slope(values, [row["peak_bytes"] for row in line]),
            }
            found.append({"axis": axis, "name": name, "largest": values[-1], **fits})
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the exponents and write the JSON file and the picture."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    rows = list(run(args))
    result = {
        "benchmark": "scaling",
        "quick": args.quick,
        "seed": args.seed,
        "phase": args.phase,
        "threads": args.threads,
        "machine": machine(torch.device(args.device)),
        "picture": args.picture.name if args.picture else None,
        "rows": rows,
        "slopes": slopes(rows),
    }
    for fit in result["slopes"]:
        print(
            f"{fit['axis']:9} {fit['name']:28} time ~ n^{fit['time']:.2f}, "
            f"memory ~ n^{fit['memory']:.2f} (up to {fit['largest']})"
        )
    write(result, args.out)
    if args.picture:
        from benchmarks.picture import draw

        draw(rows, args.picture)


if __name__ == "__main__":
    main()
