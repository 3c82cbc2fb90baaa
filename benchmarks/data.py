"""Measure the speed of simulated hands and images, and time and memory of importing the package.

``python -m benchmarks.data --out FILE``
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import machine, write
from benchmarks.timing import summary
from handgraph.datasets import SyntheticHands

MODULES = ("torch", "torch_geometric", "handgraph")

IMPORT = """\
import json, pathlib, time, warnings
warnings.simplefilter("ignore")
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
status = pathlib.Path("/proc/self/status")  # getrusage also counts the parent's memory
lines = status.read_text().splitlines() if status.exists() else []
peaks = [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print(json.dumps([seconds, peaks[0] if peaks else None]))
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(arguments)


def simulation(num_samples: int, rounds: int, seed: int) -> dict[str, Any]:
    """Time :class:`SyntheticHands` with a different seed in each round."""
    SyntheticHands(100, seed=seed, progress=False)
    times = []
    for turn in range(rounds):
        start = perf_counter()
        SyntheticHands(num_samples, seed=seed + turn, progress=False)
        times.append(perf_counter() - start)
    found = summary(times)
    return {"num_samples": num_samples, **found, "per_second": num_samples / found["median"]}


def rendering(image_size: int, num_images: int, rounds: int, seed: int) -> dict[str, Any]:
    """Time the rendering of the same hands in each round, after an untimed one."""
    hands = SyntheticHands(num_images, seed=seed, image_size=image_size, progress=False)
    times = []
    for _ in range(rounds + 1):
        start = perf_counter()
        hands.render(range(num_images))
        times.append(perf_counter() - start)
    found = summary(times[1:])
    return {"image_size": image_size, **found, "per_second": num_images / found["median"]}


def imports(rounds: int, seed: int) -> list[dict[str, Any]]:
    """Import each module in fresh interpreters; an untimed first round warms the disk cache."""
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    peaks: dict[str, int | None] = {}
    order = random.Random(seed)
    for turn in tqdm(range(rounds + 1), desc="imports", disable=None):
        for module in order.sample(MODULES, len(MODULES)):
            seconds, peaks[module] = _import(module)
            if turn > 0:
                times[module].append(seconds)
    return [
        {"name": module, **summary(times[module]), "peak_bytes": peaks[module]}
        for module in MODULES
    ]


def _import(module: str) -> tuple[float, int | None]:
    command = [sys.executable, "-c", IMPORT.replace("{module}", module)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = json.loads(out.splitlines()[-1])
    return seconds, peak


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the results and write the JSON file."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    num_samples, num_images, rounds = (2000, 16, 3) if args.quick else (20_000, 128, 5)
    result: dict[str, Any] = {
        "benchmark": "data",
        "quick": args.quick,
        "seed": args.seed,
        "threads": args.threads,
        "machine": machine(torch.device("cpu")),
        "simulation": simulation(num_samples, rounds, args.seed),
        "rendering": [rendering(n, num_images, rounds, args.seed) for n in (128, 256)],
        "imports": imports(2 if args.quick else 7, args.seed),
    }
    print(f"SyntheticHands: {result['simulation']['per_second']:.0f} samples per second")
    for row in result["rendering"]:
        size = row["image_size"]
        print(f"rendering: {row['per_second']:.0f} images of {size} pixels per second")
    for row in result["imports"]:
        peak = "" if row["peak_bytes"] is None else f", {row['peak_bytes'] / 1e6:.0f} MB"
        print(f"import {row['name']}: {row['median']:.2f} s{peak}")
    write(result, args.out)


if __name__ == "__main__":
    main()
