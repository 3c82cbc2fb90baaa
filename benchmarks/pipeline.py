"""Time the parts of the pipeline: HRNet, feature encoders, graph core.

``python -m benchmarks.pipeline --device cpu --out FILE``
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.contestants import Call, in_cuda_graph
from benchmarks.core import make_plan
from benchmarks.machine import machine, write
from benchmarks.measures import operations
from benchmarks.parts import Pipeline
from benchmarks.tables import plain, shares
from benchmarks.timing import Plan, cpu_stopwatch, cuda_stopwatch, interleave, summary
from handgraph.nn import engines, fold

FULL = {"backbone": "hrnet_w32", "hidden_channels": 256, "image_size": 256, "batches": [1, 32]}
QUICK = {"backbone": "hrnet_w18_small", "hidden_channels": 32, "image_size": 64, "batches": [1, 4]}
CONVOLUTIONAL = ("whole", "HRNet", "encoders")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the default sizes are the paper's, or small with ``--quick``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="a small HRNet, small images")
    parser.add_argument("--backbone", help="a net of timm")
    parser.add_argument("--hidden-channels", type=int, help="width of the feature encoders")
    parser.add_argument("--image-size", type=int, help="pixels")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: minutes each")
    parser.add_argument("--budget", type=float, help="seconds a form")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    args = parser.parse_args(arguments)
    for name, value in (QUICK if args.quick else FULL).items():
        setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
    return args


def forms(part: str, module: nn.Module, args: argparse.Namespace) -> dict[str, Call]:
    """The ways to run a part."""
    device = args.device
    found: dict[str, Call] = {"eager": _infer(module), "bf16": _autocast(module, device)}
    if part in CONVOLUTIONAL:
        last = copy.deepcopy(module).to(memory_format=torch.channels_last)
        found |= {"channels_last": _infer(last), "channels_last, bf16": _autocast(last, device)}
    found["folded"] = _infer(fold(module))
    if device == "cuda" and part == "core":
        found["Triton"] = _by_triton(module)
        found["folded, Triton"] = _by_triton(fold(module))
    if args.compile:
        found["compiled"] = _infer(torch.compile(copy.deepcopy(module), dynamic=False))
    return found


def _infer(module: Call) -> Call:
    def call(x: Tensor) -> object:
        with torch.no_grad():
            return module(x)

    return call


def _autocast(module: Call, device: str) -> Call:
    def call(x: Tensor) -> object:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return module(x)

    return call


def _by_triton(module: Call) -> Call:
    def call(x: Tensor) -> object:
        with torch.no_grad(), engines.use("triton"):
            return module(x)

    return call


def parts(pipeline: Pipeline, batch: int, size: int) -> dict[str, tuple[nn.Module, list[Tensor]]]:
    """Each part with its inputs, computed by the parts before it from random images."""
    device = next(pipeline.parameters()).device
    images = [
        torch.randint(256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        for _ in range(2)
    ]
    with torch.no_grad():
        found = [pipeline.detector(image) for image in images]
    return {
        "whole": (pipeline, images),
        "HRNet": (pipeline.detector, images),
        "encoders": (pipeline.encoders, [features for _, features in found]),
        "core": (pipeline.core, [uv for uv, _ in found]),
    }


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one table for each batch size."""
    torch.manual_seed(args.seed)
    pipeline = Pipeline(args.backbone, args.hidden_channels).to(args.device).eval()
    plan = make_plan(args)
    bar = tqdm(total=4 * len(args.batches), desc="parts", disable=None)
    for batch in args.batches:
        rows = []
        for name, (part, inputs) in parts(pipeline, batch, args.image_size).items():
            rows += time_part(name, forms(name, part, args), inputs, plan)
            bar.update()
        yield {"batch": batch, "rows": rows}
    bar.close()


def time_part(
    part: str, calls: dict[str, Call], inputs: list[Tensor], plan: Plan
) -> list[dict[str, Any]]:
    """Time all forms of a part in turn."""
    batch, is_cuda = len(inputs[0]), inputs[0].is_cuda
    rows: list[dict[str, Any]] = [{"part": part, "form": form} for form in calls]
    for row, call in zip(rows, list(calls.values()), strict=True):
        row["operations"] = operations(call, inputs[0])
    if is_cuda:
        graphs = {f"{form}, CUDA graph": call for form, call in calls.items()}
        rows += [{"part": part, "form": form} for form in graphs]
        calls = calls | {form: in_cuda_graph(call, inputs[0]) for form, call in graphs.items()}
    times = interleave(calls, inputs, cuda_stopwatch if is_cuda else cpu_stopwatch, plan)
    for row in rows:
        row |= {"time": summary(times[row["form"]])}
        row["images_per_second"] = batch / row["time"]["median"]
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Run, print, write."""
    args = parse(arguments)
    if args.device == "cpu":
        torch.set_num_threads(1)
    sizes = {name: getattr(args, name) for name in FULL}
    where = machine(torch.device(args.device))
    result = {"benchmark": "pipeline", "quick": args.quick, "seed": args.seed, "machine": where}
    result |= {"sizes": sizes, "tables": []}
    for found in run(args):
        result["tables"].append(found)
        tqdm.write(f"\n{args.backbone}, {args.image_size} pixels, batch {found['batch']}")
        tqdm.write(plain(shares(found["rows"])))
        write(result, args.out)


if __name__ == "__main__":
    main()
