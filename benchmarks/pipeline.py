"""Time the pipeline from an image to a pose, and its parts: HRNet, feature encoders, graph core.

``python -m benchmarks.pipeline --device cpu --out FILE``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from benchmarks.contestants import Call, Unavailable, in_cuda_graph
from benchmarks.core import make_plan
from benchmarks.fitting import fit, rendered
from benchmarks.forms import by_triton, compiled, exported, in_torch, infer
from benchmarks.machine import machine, write
from benchmarks.measures import operations
from benchmarks.parts import Encoders, Pipeline, Samplers
from benchmarks.tables import plain, shares
from benchmarks.timing import Plan, cpu_stopwatch, cuda_stopwatch, interleave, summary
from handgraph.nn import fold

FULL = {
    "backbone": "hrnet_w32",
    "hidden_channels": 256,
    "image_size": 256,
    "batches": [1, 8],
    "fit": 40,
}
QUICK = {
    "backbone": "hrnet_w18_small",
    "hidden_channels": 32,
    "image_size": 64,
    "batches": [1, 4],
    "fit": 2,
}
SAMPLED = "features sampled"
MIN_ROUNDS = 3
"""Minimum number of rounds of a form, since a call can take seconds."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; default sizes are those of the paper, or small with ``--quick``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="a small HRNet and small images")
    parser.add_argument("--backbone", help="timm model")
    parser.add_argument("--hidden-channels", type=int, help="width of the feature encoders")
    parser.add_argument("--image-size", type=int, help="pixels")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--compile", action="store_true", help="also torch.compile: minutes each")
    parser.add_argument("--export", action="store_true", help="also onnxruntime and OpenVINO")
    parser.add_argument("--fit", type=int, help="training steps of the generator")
    parser.add_argument("--budget", type=float, help="seconds per form")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    for name, value in (QUICK if args.quick else FULL).items():
        setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
    if args.export and args.device != "cpu":
        parser.error("--export: expected --device cpu")
    return args


def forms(part: str, module: nn.Module, args: argparse.Namespace) -> dict[str, Call]:
    """Return the forms of a part that PyTorch runs."""
    device = args.device
    found = in_torch(module, device, convolutional=part != "core")
    if part != SAMPLED:  # the samplers have nothing to fold
        found["folded"] = infer(fold(module))
    if device == "cuda" and part == "core":
        found |= by_triton(module)
    if args.compile and part == "whole":
        found |= compiled(module)
    return found


def parts(
    pipeline: Pipeline, images: list[Tensor], hidden_channels: int
) -> dict[str, tuple[nn.Module, list[Tensor]]]:
    """Return each part and two alternatives to the encoders, with inputs from previous parts."""
    generator, removal = pipeline.detector.generator, pipeline.core.split.removal
    channels = generator.feature_channels
    shared = Encoders(channels, removal, hidden_channels, shared=True)
    others = {"encoders, shared trunk": shared, SAMPLED: Samplers(channels, removal)}
    with torch.no_grad():
        found = [pipeline.detector(image) for image in images]
    maps = [features for _, features in found]
    device = images[0].device
    return {
        "whole": (pipeline, images),
        "HRNet": (pipeline.detector, images),
        "encoders": (pipeline.encoders, maps),
        **{name: (module.to(device).eval(), maps) for name, module in others.items()},
        "core": (pipeline.core, [uv for uv, _ in found]),
    }


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one table for each batch size."""
    torch.manual_seed(args.seed)
    pipeline = Pipeline(args.backbone, args.hidden_channels).to(args.device).eval()
    hands, uv = rendered(args.image_size, args.seed, args.device)
    fit(pipeline.detector.generator, hands, uv, args.fit)
    whole = {"whole": pipeline, "HRNet": pipeline.detector} if args.export else {}
    runtimes = {name: exported(module, hands[:2]) for name, module in whole.items()}
    plan = replace(make_plan(args), min_rounds=MIN_ROUNDS)
    bar = tqdm(total=6 * len(args.batches), desc="parts", disable=None)
    for batch in args.batches:
        rows = []
        images = [hands[torch.arange(first, first + batch) % len(hands)] for first in range(2)]
        for name, (part, inputs) in parts(pipeline, images, args.hidden_channels).items():
            calls = forms(name, part, args)
            rows += time_part(name, calls, runtimes.get(name, {}), inputs, plan)
            bar.update()
        yield {"batch": batch, "rows": rows}
    bar.close()


def time_part(
    part: str,
    calls: dict[str, Call],
    runtimes: Mapping[str, nn.Module],
    inputs: list[Tensor],
    plan: Plan,
) -> list[dict[str, Any]]:
    """Time all forms of a part alternately; operations of other runtimes are not counted."""
    batch, is_cuda = len(inputs[0]), inputs[0].is_cuda
    rows: list[dict[str, Any]] = [{"part": part, "form": form} for form in calls]
    for row, call in zip(rows, list(calls.values()), strict=True):
        if row["form"] != "compiled":
            row["operations"] = operations(call, inputs[0])
    if is_cuda:
        graphs = {f"{form}, CUDA graph": call for form, call in calls.items()}
        rows += [{"part": part, "form": form} for form in graphs]
        calls = calls | {form: in_cuda_graph(call, inputs[0]) for form, call in graphs.items()}
    unavailable = {form: m.reason for form, m in runtimes.items() if isinstance(m, Unavailable)}
    calls = calls | {form: infer(m) for form, m in runtimes.items() if form not in unavailable}
    rows += [{"part": part, "form": form} for form in runtimes if form not in unavailable]
    times = interleave(calls, inputs, cuda_stopwatch if is_cuda else cpu_stopwatch, plan)
    compared = part in ("whole", "HRNet")
    exact = [_uv(calls["eager"](x)) for x in inputs] if compared else []
    for row in rows:
        row |= {"time": summary(times[row["form"]])}
        row["images_per_second"] = batch / row["time"]["median"]
        if compared:
            row["pixels"] = apart(calls[row["form"]], exact, inputs)
    return rows + [{"part": part, "form": form, "reason": why} for form, why in unavailable.items()]


def apart(call: Call, exact: list[Tensor], inputs: list[Tensor]) -> dict[str, float]:
    """Return the median and largest distance of a form's joints from ``exact``, in pixels."""
    half = inputs[0].shape[-1] / 2
    pairs = zip(inputs, exact, strict=True)
    found = [half * (_uv(call(x)) - uv).norm(dim=-1).flatten() for x, uv in pairs]
    distances = torch.cat(found)
    return {"median": distances.median().item(), "max": distances.max().item()}


def _uv(output: object) -> Tensor:
    """Return (u, v) in [-1, 1] from the output of a part."""
    first: Tensor = tree_leaves(output)[0]
    return first[..., :2].double()


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print the tables and write the JSON file."""
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
