"""What the host does for a call on a GPU: its time and its operations, without the kernels.

``python -m benchmarks.host --out FILE``, without a GPU: the tensors are on the CPU, the library's
kernels are counted and not launched, and what comes out means nothing. Copies and the like, which
PyTorch would launch on the GPU too, run here; they are small.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.contestants import Call, Contestant, forward_call, train_call
from benchmarks.machine import machine, write
from benchmarks.measures import OperationCounter
from benchmarks.sizes import default_core, poses
from benchmarks.timing import Plan, cpu_stopwatch, interleave, summary
from handgraph.nn import fold
from handgraph.nn.kernels import dispatch, enabled


class Launches:
    """Stands for a kernel: counts its launches, and does nothing."""

    def __init__(self) -> None:
        self.count = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Launches:
        """What is called with the arguments of a kernel."""
        return self

    def __call__(self, *arguments: object, **options: object) -> None:
        """Count."""
        self.count += 1


@contextmanager
def without_launches() -> Iterator[Launches]:
    """Take the kernels on the CPU, but launch none."""
    from handgraph.nn.kernels import merge, walk, walk_back

    names: dict[Any, tuple[str, ...]] = {
        walk: ("forward", "core"),
        walk_back: ("back", "reduce"),
        merge: ("merge_nodes", "merge_nodes_back", "add_terms"),
    }
    launches = Launches()
    with ExitStack() as stack:
        stack.enter_context(enabled())
        stack.enter_context(patch.object(dispatch, "DEVICES", ("cpu",)))
        for module, kernels in names.items():
            for name in kernels:
                stack.enter_context(patch.object(module, name, launches))
        yield launches


def calls() -> dict[str, Call]:
    """Inference, folded and not, and a training step."""
    core = default_core()
    folded = fold(nn.Sequential(core.split, core.branches, core.merge))
    return {
        "forward": forward_call(Contestant("", core)),
        "forward, folded": forward_call(Contestant("", folded)),
        "train": train_call(Contestant("", default_core())),
    }


def run(batch: int, plan: Plan) -> list[dict[str, Any]]:
    """Time all calls in turn, and count what they launch."""
    inputs = poses(batch, default_core().split.removal.skeleton.num_joints, 4)
    rows = []
    with without_launches() as launches:
        named = calls()
        times = interleave(named, inputs, cpu_stopwatch, plan)
        for name, call in named.items():
            launches.count = 0
            with OperationCounter() as counter:
                call(inputs[0])
            row = {"call": name, "kernels": launches.count, "operations": counter.counts["aten"]}
            rows.append(row | {"time": summary(times[name])})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.host", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = run(args.batch, Plan(rounds=args.rounds))
    for row in rows:
        low, median, high = (1e6 * row["time"][key] for key in ("q25", "median", "q75"))
        print(
            f"{row['call']:16} {median:6.0f} us ({low:.0f} to {high:.0f}), "
            f"{row['kernels']} kernels and {row['operations']} operations of PyTorch"
        )
    result = {"benchmark": "host", "machine": machine(torch.device("cpu")), "seed": Plan.seed}
    quick = args.rounds < Plan.rounds
    write({**result, "quick": quick, "batch": args.batch, "rows": rows}, args.out)


if __name__ == "__main__":
    main()
