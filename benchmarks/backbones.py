"""Measure size and time of the heatmap generator's backbones, alone and in the whole pipeline.

``python -m benchmarks.backbones --out FILE``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.contestants import Call, Unavailable
from benchmarks.core import make_plan
from benchmarks.exported import loaded
from benchmarks.forms import infer
from benchmarks.machine import machine, write
from benchmarks.measures import flops
from benchmarks.parts import Pipeline
from benchmarks.tables import milliseconds, plain
from benchmarks.timing import cpu_stopwatch, interleave, summary
from handgraph.export import load_openvino, to_onnx
from handgraph.nn import fold
from handgraph.vision import HeatmapGenerator

BACKBONES = (
    *("lcnet_050", "mobilenetv4_conv_small_050", "mobilenetv4_conv_small", "fastvit_t8"),
    *("repvit_m0_9", "resnet18", "hrnet_w18_small", "hrnet_w18", "hrnet_w32"),
)
HEADER = (
    *("backbone", "features", "parameters, M", "GMAC", "ms"),
    *("quartiles", "image to 3D, GMAC", "ms", "quartiles", "in OpenVINO, ms", "quartiles"),
)
TIMED = ("detector", "whole", "OpenVINO")
"""Timed forms; ``OpenVINO`` is the whole pipeline in that runtime."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.backbones", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), help="timm models")
    parser.add_argument("--hidden-channels", type=int, default=32, help="of the feature encoders")
    parser.add_argument("--image-size", type=int, default=256, help="pixels")
    parser.add_argument("--budget", type=float, help="seconds per backbone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(arguments)


def for_inference(module: nn.Module) -> nn.Module:
    """Fold the module, and convert it to channels_last."""
    return fold(module).to(memory_format=torch.channels_last)


def in_openvino(pipeline: Pipeline, images: Tensor) -> nn.Module:
    """Return the folded pipeline in OpenVINO, or a placeholder with the reason for its absence."""
    return loaded(lambda: load_openvino(to_onnx(fold(pipeline), images)))


def measure(pipeline: Pipeline, images: Tensor) -> tuple[dict[str, Any], dict[str, Call]]:
    """Count parameters and operations for one image, and return the calls to time."""
    generator: HeatmapGenerator = pipeline.detector.generator
    parts = {"detector": generator, "whole": pipeline}
    calls = {form: infer(for_inference(module)) for form, module in parts.items()}
    row = {
        "name": generator.backbone_name,
        "features": generator.feature_channels,
        "parameters": sum(p.numel() for p in generator.parameters()),
        "macs": {form: flops(infer(part), images[:1]) // 2 for form, part in parts.items()},
    }
    exported = in_openvino(pipeline, images)
    if isinstance(exported, Unavailable):
        row["reason"] = exported.reason
    else:
        calls["OpenVINO"] = infer(exported)
    return row, calls


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all backbones with random weights, and time them alternately."""
    torch.manual_seed(args.seed)
    side = args.image_size
    images = [torch.randint(256, (1, 3, side, side), dtype=torch.uint8) for _ in range(2)]
    rows: list[dict[str, Any]] = []
    calls: dict[str, Call] = {}
    for name in tqdm(args.backbones, desc="backbones", disable=None):
        row, forms = measure(Pipeline(name, args.hidden_channels).eval(), torch.cat(images))
        rows.append(row)
        calls |= {f"{name} {form}": call for form, call in forms.items()}
    times = interleave(calls, images, cpu_stopwatch, make_plan(args))
    for row in rows:
        timed = {form: f"{row['name']} {form}" for form in TIMED}
        row["time"] = {form: summary(times[key]) for form, key in timed.items() if key in times}
    return rows


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the table, header first."""
    lines = [list(HEADER)]
    for row in rows:
        line = [row["name"], str(row["features"]), f"{row['parameters'] / 1e6:.2f}"]
        for form in TIMED:
            line += [f"{row['macs'][form] / 1e9:.2f}"] if form in row["macs"] else []
            line += time_cells(row["time"].get(form))
        lines.append(line)
    return lines


def time_cells(time: dict[str, float] | None) -> list[str]:
    """Return the median and the quartiles as cells."""
    if time is None:
        return ["-", "-"]
    quartiles = f"{milliseconds(time['q25'])}-{milliseconds(time['q75'])}"
    return [milliseconds(time["median"]), quartiles]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark, print a table and write the JSON file."""
    args = parse(arguments)
    torch.set_num_threads(1)
    result = {
        "benchmark": "backbones",
        "quick": args.quick,
        "seed": args.seed,
        "machine": machine(torch.device("cpu")),
        "sizes": {"hidden_channels": args.hidden_channels, "image_size": args.image_size},
        "rows": run(args),
    }
    print(plain(table(result["rows"])))
    write(result, args.out)


if __name__ == "__main__":
    main()
