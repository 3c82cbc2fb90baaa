"""Time the Triton engine with several tilings on a GPU: ``python -m benchmarks.tune``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.core import QUICK
from benchmarks.machine import machine, write
from benchmarks.sizes import CHANNELS, default_core
from benchmarks.timing import cpu_stopwatch, cuda_stopwatch, interleave, summary
from handgraph.nn.engines import cuda
from handgraph.nn.engines.cuda import launch
from handgraph.nn.fuse import join
from handgraph.nn.plan import Plan, Shape

BATCHES = [1, 32, 256, 4096]
TILINGS = [
    dict(zip(launch.FEW, sizes, strict=True)) for sizes in product((16, 32, 64), (4, 8), (1, 2, 3))
]


def plans() -> dict[str, tuple[Plan, Shape]]:
    """Return the plans of the default core and the shapes of their inputs."""
    core: Any = default_core()
    branches, merger = core.branches.lower(), core.merge.lower()
    joined = join(core.split.lower(), branches, merger)
    count, nodes = core.split.node_mask.shape
    given = Shape(count, nodes, CHANNELS)
    whole = Shape(1, core.split.removal.skeleton.num_joints, CHANNELS)
    return {"branches": (branches, given), "merger": (merger, given), "core": (joined, whole)}


def works(
    device: torch.device,
) -> Iterator[tuple[str, cuda.TritonForm, Callable[[Tensor], object]]]:
    """Yield a name, a form and the call to time, which takes ``[N, J, C, B]``."""
    for name, (plan, given) in plans().items():
        form = cuda.TritonForm(plan, given).to(device)
        yield f"{name}, forward", form, form.run
        if name != "core":  # the folded core is not trained
            yield f"{name}, forward and backward", form, partial(_train, form)


def _train(form: cuda.TritonForm, x: Tensor) -> object:
    table = form.table.detach().requires_grad_()
    out = cuda.run(x, form.program, table, form.columns)
    return torch.autograd.grad(out, table, out.detach())


def _tiled(call: Callable[[Tensor], object], tiling: dict[str, int], x: Tensor) -> object:
    with patch.multiple(launch, FEW=tiling, MANY=tiling):
        return call(x)


def _name(tiling: dict[str, int]) -> str:
    return " ".join(f"{key} {tiling[key]}" for key in launch.FEW)


def run(device: torch.device, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the tables, with the fastest tiling first in each."""
    stopwatch = cuda_stopwatch if device.type == "cuda" else cpu_stopwatch
    for (name, form, call), batch in product(works(device), batches):
        inputs = [torch.randn(*form.given, batch, device=device) for _ in range(2)]
        calls = {_name(tiling): partial(_tiled, call, tiling) for tiling in TILINGS}
        times = interleave(calls, inputs, stopwatch, QUICK)
        rows = [{"tiling": tiling, **summary(found)} for tiling, found in times.items()]
        rows.sort(key=lambda row: float(row["median"]))
        chosen = _name(launch._options(inputs[0].movedim(3, 0), form.program))
        yield {"work": name, "batch": batch, "chosen": chosen, "rows": rows}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the fastest tilings and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    device = torch.device(args.device)
    result: dict[str, Any] = {"benchmark": "tune", "machine": machine(device), "quick": False}
    result |= {"seed": QUICK.seed, "tables": []}
    for found in run(device, args.batches):
        result["tables"].append(found)
        tqdm.write(f"{found['work']}, batch {found['batch']}: {found['rows'][0]['tiling']}")
        write(result, args.out)


if __name__ == "__main__":
    main()
