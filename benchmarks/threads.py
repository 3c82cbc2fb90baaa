"""Compare the library's times with two numbers of threads.

``python -m benchmarks.threads --out FILE``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.contestants import FOLDED, OURS, PHASES, Call, Contestant, by_engine, equal_forms
from benchmarks.machine import machine, write
from benchmarks.sizes import default_core, poses, seeded
from benchmarks.timing import Plan, cpu_stopwatch, interleave, summary

BATCHES = [1, 4, 32, 256, 2048, 4096]
BLOCK = 0.02
"""Seconds of a block of calls, longer than the time that idle threads stay awake."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.threads", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--threads", type=int, default=[1, 2], nargs=2)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--quick", action="store_true", help="few batches and rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(arguments)


def with_threads(call: Call, threads: int) -> Call:
    """Return the call with a number of threads."""

    def threaded(x: Tensor) -> object:
        torch.set_num_threads(threads)
        return call(x)

    return threaded


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row per phase, batch and contestant."""
    forms = [c for c in equal_forms(seeded(default_core, args.seed)) if c.name in (OURS, FOLDED)]
    contestants = [*forms, *by_engine(forms, "cpu")]
    batches = [1, 32] if args.quick else args.batches
    cases = [(p, b, c) for p in PHASES for b in batches for c in contestants]
    for phase, batch, contestant in tqdm(cases, desc="rows", disable=None):
        if contestant.trains or phase == "forward":
            yield {"phase": phase, "batch": batch, **_row(args, contestant, phase, batch)}


def _row(
    args: argparse.Namespace, contestant: Contestant, phase: str, batch: int
) -> dict[str, Any]:
    call = PHASES[phase](contestant)
    calls = {str(threads): with_threads(call, threads) for threads in args.threads}
    rounds = 5 if args.quick else 15
    plan = Plan(rounds=rounds, block=BLOCK, budget=2.0, min_rounds=rounds, seed=args.seed)
    times = interleave(calls, poses(batch, 21, 4, args.seed), cpu_stopwatch, plan)
    return {"name": contestant.name, "hot": {n: summary(found) for n, found in times.items()}}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the results and write the JSON file."""
    args = parse(arguments)
    before = torch.get_num_threads()
    rows = list(run(args))
    torch.set_num_threads(before)
    for row in rows:
        one, other = (row["hot"][str(threads)]["median"] for threads in args.threads)
        print(
            f"{row['phase']:8} {row['batch']:5} {row['name']:26} {1e3 * one:8.3f} ms, "
            f"{1e3 * other:8.3f} ms: {one / other:.2f} times as fast"
        )
    result = {"benchmark": "threads", "quick": args.quick, "seed": args.seed, "rows": rows}
    where = machine(torch.device("cpu"))
    write({**result, "threads": args.threads, "machine": where}, args.out)


if __name__ == "__main__":
    main()
