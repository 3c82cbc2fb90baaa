"""Time the kernels with other tilings: what the constants of ``handgraph.nn.kernels`` should be.

``python -m benchmarks.tune --out FILE``, on a GPU
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.core import QUICK
from benchmarks.machine import machine, write
from benchmarks.sizes import CHANNELS, default_core
from benchmarks.timing import cpu_stopwatch, cuda_stopwatch, interleave, summary
from handgraph.nn import fold
from handgraph.nn.kernels import Plan, launch
from handgraph.nn.kernels.launch import Net, Tiling

BATCHES = [1, 32, 256, 4096]
TILINGS = [Tiling(*sizes) for sizes in product((16, 32), (4, 8), (1, 2, 3), (False, True))]
TILINGS += [Tiling(*sizes) for sizes in product((64, 128), (4, 8), (1, 2, 3))]


def chains() -> dict[str, tuple[Plan, int]]:
    """The plans of the default core, and how many branches each has."""
    core = default_core()
    merge: Any = core.merge
    branches: Any = core.branches
    return {"branches": (branches.plan, len(core.split.removal)), "merger": (merge.unet.plan, 1)}


def folded_core(device: torch.device) -> tuple[Net, Net]:
    """The nets of the default core, folded: the branches and the merger."""
    core = default_core()
    (folded,) = fold(nn.Sequential(core.split, core.branches, core.merge)).to(device).children()
    nets: Any = folded
    return cast("tuple[Net, Net]", nets.chains())


class Work(NamedTuple):
    """Something to be timed: what it does with a batch of samples of a shape."""

    name: str
    branches: int
    shape: tuple[int, ...]
    run: Callable[[Tensor], object]


def works(device: torch.device) -> Iterator[Work]:
    """All that the kernels do."""
    for name, (plan, branches) in chains().items():
        table = torch.randn(branches, plan.table_size, device=device) / 8
        shape: tuple[int, ...] = branches, plan.in_width
        yield Work(f"{name}, forward", branches, shape, partial(_forward, plan, table))
        yield Work(f"{name}, backward", branches, shape, partial(_backward, plan, table))
    nets, removal = folded_core(device), default_core().split.removal
    shape = (removal.skeleton.num_joints * CHANNELS,)
    yield Work("folded core", len(removal), shape, lambda x: launch.core(x, *nets))


def _forward(plan: Plan, table: Tensor, x: Tensor) -> object:
    return launch.forward(x, table, plan)


def _backward(plan: Plan, table: Tensor, x: Tensor) -> object:
    grad = x[..., :1].expand(*x.shape[:2], plan.widths[-1])
    return launch.backward(grad.contiguous(), x, table, plan)


def _cut(work: Work, tiling: Tiling, x: Tensor) -> object:
    with patch.object(launch, "_tiling", lambda *_: tiling):
        return work.run(x)


def _name(tiling: Tiling) -> str:
    return " ".join(f"{key} {value}" for key, value in tiling._asdict().items())


def run(device: torch.device, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield one table after the other, the fastest tiling first."""
    stopwatch = cuda_stopwatch if device.type == "cuda" else cpu_stopwatch
    for work, batch in product(works(device), batches):
        inputs = [torch.randn(batch, *work.shape, device=device) for _ in range(2)]
        running = _that_run({_name(t): partial(_cut, work, t) for t in TILINGS}, inputs[0])
        times = interleave(running, inputs, stopwatch, QUICK)
        rows = [{"tiling": tiling, **summary(found)} for tiling, found in times.items()]
        rows.sort(key=lambda row: float(row["median"]))
        chosen = _name(launch._tiling(inputs[0], batch, work.branches))
        yield {"work": work.name, "batch": batch, "chosen": chosen, "rows": rows}


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
    result: dict[str, Any] = {"benchmark": "tune", "machine": machine(device)}
    result |= {"quick": False, "seed": QUICK.seed, "tables": []}
    for found in run(device, args.batches):
        result["tables"].append(found)
        tqdm.write(f"\n{found['work']}, batch {found['batch']}")
        for row in found["rows"][:5]:
            mark = "  <- chosen" if row["tiling"] == found["chosen"] else ""
            tqdm.write(f"  {1e6 * row['median']:9.1f} us  {row['tiling']}{mark}")
        write(result, args.out)


if __name__ == "__main__":
    main()
