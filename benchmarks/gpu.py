"""Run all tests and benchmarks that need a GPU; the benchmarks write JSON files.

``python -m benchmarks.gpu --out runs/gpu``, or ``make gpu``. If GPU time is limited, use
``--quick``, or select steps with ``--only``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.contestants import folded
from benchmarks.machine import machine, write
from benchmarks.sizes import default_core, poses
from handgraph.nn import engines

SANITIZER = "compute-sanitizer"
ERROR = 77  # exit code of the sanitizer if it finds an error
TIMED_OUT = 124  # the exit code of timeout(1)
QUICK_BATCHES = ("1", "32", "4096")


def steps(out: Path, quick: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield name and command of each step."""
    python = [sys.executable, "-W", "ignore"]
    tests = [sys.executable, "-m", "pytest", "tests/nn/engines/cuda", "-q"]
    yield "tests", [*tests, "-m", "slow or not slow", f"--junitxml={out / 'tests.xml'}"]
    if shutil.which(SANITIZER):
        for tool in ("memcheck", "racecheck", "initcheck"):
            command = [SANITIZER, "--tool", tool, "--error-exitcode", str(ERROR)]
            yield tool, [*command, *python, "-m", "benchmarks.gpu", "--once"]
    cuda = ["--device", "cuda", *(["--quick"] if quick else [])]
    batches = ["--batches", *QUICK_BATCHES] if quick else []
    yield "tune", [*python, "-m", "benchmarks.tune", *batches, "--out", f"{out}/tune.json"]
    more = {
        "core": batches if quick else ["--compile"],
        "scaling": ["--picture", f"{out}/scaling_cuda.png"],
        "pipeline": [],
    }
    for name, options in more.items():
        command = [*python, "-m", f"benchmarks.{name}", *cuda, "--out", f"{out}/{name}_cuda.json"]
        yield name, [*command, *options]


def once() -> None:
    """Run the core forward, backward and folded, for the sanitizer."""
    torch.use_deterministic_algorithms(True)
    core = default_core().cuda()
    for batch in (1, 33, 600):
        (x,) = poses(batch, core.split.removal.skeleton.num_joints, 1)
        with engines.use("triton"):
            core(x.cuda()).square().mean().backward()
            folded(core)(x.cuda())
    torch.cuda.synchronize()


def run(command: list[str], limit: float) -> dict[str, Any]:
    """Run one command for at most ``limit`` seconds, without Triton's interpreter."""
    start = perf_counter()
    env = os.environ | {"TRITON_INTERPRET": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    try:
        code = subprocess.run(command, env=env, check=False, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        code = TIMED_OUT
    return {"command": command, "exit_code": code, "seconds": round(perf_counter() - start, 1)}


def main(arguments: list[str] | None = None) -> None:
    """Run all steps; exit with 1 if one fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder to write")
    parser.add_argument(
        "--quick", action="store_true", help="fewer batches and rounds, no torch.compile"
    )
    parser.add_argument("--only", nargs="+", metavar="STEP", help="only these (core, tune, ...)")
    parser.add_argument("--limit", type=float, default=3600, help="maximum seconds per step")
    parser.add_argument("--once", action="store_true", help="only run the core once")
    args = parser.parse_args(arguments)
    found = dict(steps(args.out, args.quick))
    if not set(args.only or ()) <= set(found):
        parser.error(f"--only: expected some of {', '.join(found)}, got {', '.join(args.only)}")
    if not torch.cuda.is_available():
        parser.exit(2, "benchmarks.gpu: expected a CUDA device, found none\n")
    if args.once:
        once()
        return
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": machine(torch.device("cuda")), "steps": {}}
    if not shutil.which(SANITIZER):
        result["steps"]["sanitizer"] = {"left out": f"{SANITIZER} is not installed"}
    for name in args.only or found:
        print(f"== {name}", flush=True)
        result["steps"][name] = run(found[name], args.limit)
        write(result, args.out / "summary.json")
    failed = [name for name, step in result["steps"].items() if step.get("exit_code")]
    print(f"failed: {', '.join(failed)}" if failed else f"all passed; JSON in {args.out}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
