"""Compare the speed of the core, forward and training, with HOPE-Net's algorithm and with PyG.

``python -m benchmarks.core --device cpu --out FILE``
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.compare import Row, compare, to_device, too_large
from benchmarks.contestants import (
    PHASES,
    Contestant,
    by_engine,
    compiled,
    equal_forms,
    other_functions,
    silent,
)
from benchmarks.exported import exported
from benchmarks.machine import machine, write
from benchmarks.measures import matmul_rate
from benchmarks.sizes import SIZES, Core, poses, seeded
from benchmarks.tables import plain, table
from benchmarks.timing import Plan

BATCHES = [1, 4, 32, 256, 2048, 4096]
QUICK_BATCHES = [1, 32, 256]
RATE_SIZES = {"cpu": 1024, "cuda": 8192}
"""Number of rows of the large matrix product."""

QUICK = Plan(rounds=9, budget=0.3, min_rounds=3, warm_up=2)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.core", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--sizes", default=["default"], nargs="+", choices=list(SIZES))
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes, increasing")
    parser.add_argument("--phases", default=list(PHASES), nargs="+", choices=list(PHASES))
    parser.add_argument("--threads", type=int, default=[1], nargs="+")
    parser.add_argument("--quick", action="store_true", help="small batches, few rounds")
    parser.add_argument("--compile", action="store_true", help="also torch.compile: minutes each")
    parser.add_argument("--export", action="store_true", help="also onnxruntime and OpenVINO")
    parser.add_argument("--budget", type=float, help="seconds per contestant and table")
    parser.add_argument("--limit", type=float, default=5.0, help="skip slower calls, seconds")
    parser.add_argument("--memory", type=float, default=8.0, help="skip larger calls, GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    if args.export and args.device != "cpu":
        parser.error("--export: expected --device cpu")
    return args


def make_plan(args: argparse.Namespace) -> Plan:
    """Return how long to time."""
    base = QUICK if args.quick else Plan()
    return Plan(
        base.rounds,
        base.block,
        args.budget or base.budget,
        base.min_rounds,
        base.warm_up,
        args.seed,
    )


def contestants(core: Core, args: argparse.Namespace, phase: str) -> list[Contestant]:
    """Return all contestants of one phase."""
    same = equal_forms(core)
    everyone = [*same, *by_engine(same, args.device)]
    if args.compile:
        everyone += compiled(core)
    if args.export and phase == "forward":
        everyone += exported(core)
    return to_device([*everyone, *other_functions(core)], torch.device(args.device))


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the tables."""
    batches = args.batches or (QUICK_BATCHES if args.quick else BATCHES)
    cases = [(s, t, p) for s in args.sizes for t in args.threads for p in args.phases]
    bar = tqdm(total=len(cases) * len(batches), desc="tables", disable=None)
    for sizes, threads, phase in cases:
        torch.set_num_threads(threads)
        rate = matmul_rate(torch.device(args.device), threads, RATE_SIZES[args.device])
        case = {"sizes": sizes, "threads": threads, "phase": phase}
        for batch, rows in _tables(args, seeded(SIZES[sizes], args.seed), phase, batches):
            bar.update()
            yield case | {"batch": batch, "matmul_rate": rate, "rows": rows}
    bar.close()


def _tables(
    args: argparse.Namespace, core: Core, phase: str, batches: list[int]
) -> Iterator[tuple[int, list[Row]]]:
    """Compare the same contestants at all batch sizes, so that compiled code is reused."""
    everyone, joints = contestants(core, args, phase), core.split.removal.skeleton.num_joints
    core = copy.deepcopy(core).to(args.device)
    rows: list[Row] = []
    for last, batch in zip([batches[0], *batches], batches, strict=False):
        inputs = [x.to(args.device) for x in poses(batch, joints, 4, args.seed)]
        stay, left_out = too_large(everyone, rows, batch / last, args.limit, args.memory)
        found = compare(core, stay, phase, inputs, make_plan(args), args.device == "cuda")
        rows = [*found, *left_out]
        yield batch, rows


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the tables and write the JSON file."""
    args = parse(arguments)
    silent()
    torch.manual_seed(args.seed)
    result = {
        "benchmark": "core",
        "quick": args.quick,
        "seed": args.seed,
        "machine": machine(torch.device(args.device)),
        "tables": [],
    }
    for found in run(args):
        result["tables"].append(found)
        tqdm.write(
            f"\n{found['sizes']} sizes, {found['phase']}, batch {found['batch']}, "
            f"{found['threads']} threads"
        )
        tqdm.write(plain(table(found["rows"], found["matmul_rate"])))
        write(result, args.out)  # after each table, so that a stopped run keeps its tables
    if args.out:
        print(f"wrote {args.out}")
    print("* computes another function. 'vs': speed-up over this reference; below 1 is slower.")


if __name__ == "__main__":
    main()
