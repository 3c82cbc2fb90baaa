"""Time the kernels with other tilings: what the constants of ``handgraph.nn.kernels`` should be.

``python -m benchmarks.tune --out FILE``, on a GPU
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.core import QUICK
from benchmarks.machine import machine, write
from benchmarks.sizes import default_core
from benchmarks.timing import cpu_stopwatch, cuda_stopwatch, interleave, summary
from handgraph.nn.kernels import Plan, launch
from handgraph.nn.kernels.launch import Tiling

BATCHES = [1, 32, 256, 4096]
TILINGS = [Tiling(*sizes) for sizes in product((16, 32, 64, 128), (4, 8), (1, 3))]


def chains() -> dict[str, tuple[Plan, int]]:
    """The plans of the default core, and how many branches each has."""
    core = default_core()
    merge: Any = core.merge
    branches: Any = core.branches
    return {"branches": (branches.plan, len(core.split.removal)), "merger": (merge.unet.plan, 1)}


def calls(
    plan: Plan, table: Tensor, phase: str, tilings: Sequence[Tiling]
) -> dict[str, Callable[[Tensor], object]]:
    """One call a tiling; those that the device has no room for are left out when they fail."""

    def call(tiling: Tiling, x: Tensor) -> object:
        with patch.object(launch, "_tiling", lambda *_: tiling):
            if phase == "forward":
                return launch.forward(x, table, plan)
            return launch.backward(x[..., :1].expand(*x.shape[:2], plan.widths[-1]).contiguous(),
                                   x, table, plan)  # fmt: skip

    return {_name(t): (lambda x, t=t: call(t, x)) for t in tilings}  # type: ignore[misc]


def _name(tiling: Tiling) -> str:
    return " ".join(f"{key} {value}" for key, value in tiling._asdict().items())


def run(device: torch.device, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield one table after the other, the fastest tiling first."""
    stopwatch = cuda_stopwatch if device.type == "cuda" else cpu_stopwatch
    for (chain, (plan, branches)), batch in product(chains().items(), batches):
        table = torch.randn(branches, plan.table_size, device=device) / 8
        inputs = [torch.randn(batch, branches, plan.in_width, device=device) for _ in range(2)]
        for phase in ("forward", "backward"):
            running = _that_run(calls(plan, table, phase, TILINGS), inputs[0])
            times = interleave(running, inputs, stopwatch, QUICK)
            rows = [{"tiling": name, **summary(found)} for name, found in times.items()]
            rows.sort(key=lambda row: float(row["median"]))
            chosen = _name(launch._tiling(batch, branches))
            yield {"chain": chain, "batch": batch, "phase": phase, "chosen": chosen, "rows": rows}


def _that_run(
    calls: dict[str, Callable[[Tensor], object]], x: Tensor
) -> dict[str, Callable[[Tensor], object]]:
    found = {}
    for name, call in calls.items():
        try:
            call(x)
        except Exception as error:  # Triton has errors of its own for what is too large
            tqdm.write(f"{name}: {type(error).__name__}")
        else:
            found[name] = call
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tune", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    args = parser.parse_args(arguments)
    device = torch.device(args.device)
    result: dict[str, Any] = {"benchmark": "tune", "machine": machine(device), "tables": []}
    for found in run(device, args.batches):
        result["tables"].append(found)
        tqdm.write(f"\n{found['chain']}, batch {found['batch']}, {found['phase']}")
        for row in found["rows"][:5]:
            mark = "  <- chosen" if row["tiling"] == found["chosen"] else ""
            tqdm.write(f"  {1e6 * row['median']:9.1f} us  {row['tiling']}{mark}")
        write(result, args.out)


if __name__ == "__main__":
    main()
