"""Compare the core's times in this checkout and another, such as a worktree of an older commit.

``python -m benchmarks.versions --other CHECKOUT --out FILE``
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import machine, write
from benchmarks.tables import faster, milliseconds, plain
from benchmarks.timing import summary

ROOT = Path(__file__).parents[1]
CASES = ("forward", "training", "folded", "masked", "masked training")
BATCHES = [1, 32, 256, 2048]
Row = dict[str, Any]


class Worker:
    """A process that runs ``versions_worker.py`` in one checkout.

    Args:
        checkout: The root of the checkout.
    """

    def __init__(self, checkout: Path) -> None:
        source = ROOT / "benchmarks" / "versions_worker.py"
        command = [sys.executable, "-W", "ignore", "-c", source.read_text(encoding="utf-8")]
        self.checkout = checkout.resolve()
        self.process = subprocess.Popen(  # -c puts the working directory on the import path
            command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def engines(self) -> list[str]:
        """Return the engines of the checkout. Must be called before :meth:`time`.

        Raises:
            RuntimeError: If the process has stopped or imported another checkout.
        """
        found: dict[str, Any] = self._answer()
        if Path(found["handgraph"]).parents[1].resolve() != self.checkout:
            raise RuntimeError(f"expected handgraph in {self.checkout}, got {found['handgraph']}")
        return list(found["engines"])

    def time(self, case: str, engine: str, batch: int, seconds: float) -> float:
        """Return the seconds of a call, averaged over a block of ``seconds`` seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([case, engine, batch, seconds]) + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> Any:  # noqa: ANN401
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.checkout}: the worker process has stopped")
        return json.loads(line)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.versions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--other", type=Path, required=True, help="root of the other checkout")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=float, default=0.02, help="seconds of a block of calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace, workers: Mapping[str, Worker]) -> Iterator[Row]:
    """Yield one row per case, batch and engine."""
    entries = [(side, name) for side, worker in workers.items() for name in worker.engines()]
    cases = [(case, batch) for case in args.cases for batch in args.batches]
    for case, batch in tqdm(cases, desc="cases", disable=None):
        # a folded net has no readable form
        stay = [entry for entry in entries if (case, entry[1]) != ("folded", "readable")]
        times = _times(args, workers, stay, case, batch)
        for engine in dict.fromkeys(name for _, name in stay):
            yield {"case": case, "batch": batch, "engine": engine, **_row(times, engine)}


def _times(
    args: argparse.Namespace,
    workers: Mapping[str, Worker],
    entries: list[tuple[str, str]],
    case: str,
    batch: int,
) -> dict[tuple[str, str], list[float]]:
    """Time all entries once per round in random order, with one process running at a time."""
    times: dict[tuple[str, str], list[float]] = {entry: [] for entry in entries}
    order = random.Random(args.seed)
    for _ in range(args.rounds):
        for side, engine in order.sample(entries, len(entries)):
            seconds = workers[side].time(case, engine, batch, args.block)
            times[side, engine].append(seconds)
    return times


def _row(times: dict[tuple[str, str], list[float]], engine: str) -> Row:
    sides = {side: found for (side, name), found in times.items() if name == engine}
    row: Row = {side: summary(found) for side, found in sides.items()}
    if len(sides) == 2:
        pairs = zip(sides["other"], sides["this"], strict=True)
        row["times_faster"] = median(other / this for other, this in pairs)
    return row


def table(rows: list[Row]) -> list[list[str]]:
    """Return the cells, header first: times of both checkouts and the speed-up of this one."""
    cells = [["case", "batch", "engine", "ms", "quartiles", "ms, other", "speed-up"]]
    for row in rows:
        low, middle, high = (milliseconds(row["this"][key]) for key in ("q25", "median", "q75"))
        other = milliseconds(row["other"]["median"]) if "other" in row else "-"
        times = faster(row["times_faster"]) if "times_faster" in row else "-"
        start = [row["case"], str(row["batch"]), row["engine"]]
        cells.append([*start, middle, f"{low}-{high}", other, times])
    return cells


def commit(checkout: Path) -> str | None:
    """Return the commit of a checkout, with ``-dirty`` if it is modified, ``None`` without git."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, cwd=checkout, check=False, capture_output=True, text=True)
    return found.stdout.strip() or None


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the table and write the JSON file."""
    args = parse(arguments)
    workers = {"this": Worker(ROOT), "other": Worker(args.other)}
    try:
        rows = list(run(args, workers))
    finally:
        for worker in workers.values():
            worker.close()
    print(plain(table(rows)))
    commits = {side: commit(worker.checkout) for side, worker in workers.items()}
    result = {"benchmark": "versions", "quick": args.rounds < 15, "seed": args.seed}
    write({**result, "machine": machine(torch.device("cpu")), **commits, "rows": rows}, args.out)


if __name__ == "__main__":
    main()
