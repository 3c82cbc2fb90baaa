"""Write a page from the JSON of the benchmarks: ``python -m benchmarks.report RESULTS PAGE``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.backbones import table as backbones_table
from benchmarks.encoders import table as encoders_table
from benchmarks.tables import faster, markdown, milliseconds, origin, shares, table
from benchmarks.versions import table as versions_table

HEAD = """\
# Benchmarks

`python -m benchmarks.report` writes this page. `benchmarks/README.md` describes the method. The
*core* is the [branches](guide/removal_sets.md) and the ensemble network of the paper. Times are
medians of interleaved calls in one process.

- *vs HOPE-Net*: speed-up over HOPE-Net's algorithm, which runs the branches one after the other and
  normalises the adjacency for every sample
- *vs best PyG*: speed-up over the fastest equal network from PyG layers
- *vs normalised once*: speed-up over HOPE-Net's algorithm with one normalisation per call
- *ops*: number of operations of a call
- *MB*: peak memory of a call
- *error*: largest deviation from double precision, relative to the largest value
- *% of matmul*: rate of floating point operations, in percent of that of a large matrix product

Speed-ups below 1 are marked **slower**. Rows marked \\* compute another function. *Default* sizes
are handgraph's defaults. *Literal* sizes follow the text of the paper: 80 nodes in the ensemble
network, and HOPE-Net's node counts in the branches."""

PHASES = {"forward": "forward", "train": "training"}
"""Names of the phases on the page."""


def page(results: Sequence[dict[str, Any]]) -> str:
    """Write a section for each result, in the order of ``SECTIONS``."""
    order = list(SECTIONS)
    results = sorted(results, key=lambda result: order.index(result["benchmark"]))
    sections = [SECTIONS[result["benchmark"]](result) for result in results]
    return "\n\n".join([HEAD, *(sections or ["No results yet."])]) + "\n"


def _device(result: dict[str, Any]) -> str:
    return "CPU" if result["machine"]["device"] == "cpu" else "GPU"


def core(result: dict[str, Any]) -> str:
    """Write a table for each size, number of threads, phase and batch."""
    parts = [f"## The core, {_device(result)}", origin(result)]
    for found in result["tables"]:
        threads = f", threads {found['threads']}" if _device(result) == "CPU" else ""
        parts += [
            f"### {found['sizes'].capitalize()} sizes, {PHASES[found['phase']]}, "
            f"batch {found['batch']}{threads}",
            markdown(table(found["rows"], found["matmul_rate"])),
        ]
    return "\n\n".join(parts)


def scaling(result: dict[str, Any]) -> str:
    """Write the exponents of time and memory, and the time at the largest size."""
    head = ["axis", "implementation", "time", "memory", "largest size", "ms at largest size"]
    body = []
    for fit in result["slopes"]:
        last = [
            row["hot"]["median"]
            for row in result["rows"]
            if (row["axis"], row["name"], row["value"])
            == (fit["axis"], fit["name"], fit["largest"])
        ]
        powers = [f"n^{fit['time']:.2f}", f"n^{fit['memory']:.2f}"]
        body.append([fit["axis"], fit["name"], *powers, str(fit["largest"]), milliseconds(last[0])])
    text = f"## Scaling, {result['phase']}, {_device(result)}"
    picture = result["picture"]
    drawn = [f"![Time and memory against size](results/{picture})"] if picture else []
    return "\n\n".join([text, origin(result), markdown([head, *body]), *drawn])


def threads(result: dict[str, Any]) -> str:
    """Compare the times of two numbers of threads."""
    numbers = [str(number) for number in result["threads"]]
    times = [f"ms, threads {n}" for n in numbers]
    head = ["phase", "batch", "implementation", *times, "speed-up"]
    body = []
    for row in result["rows"]:
        medians = [row["hot"][number]["median"] for number in numbers]
        cells = [PHASES[row["phase"]], str(row["batch"]), row["name"], *map(milliseconds, medians)]
        body.append([*cells, faster(medians[0] / medians[1])])
    text = f"Rounds alternate between {' and '.join(numbers)} threads. Sizes are the defaults."
    return "\n\n".join(["## Threads", origin(result), text, markdown([head, *body])])


def versions(result: dict[str, Any]) -> str:
    """Compare the core of this version with that of an earlier one."""
    text = (
        "This version is compared with an earlier one, with default sizes on one thread. *engine* "
        "is numba, PyTorch operations (reference) or the `forward` of each module (readable). The "
        "readable form is timed in this version only. *speed-up* is the median over the rounds."
    )
    return "\n\n".join(
        ["## Versions", origin(result), text, markdown(versions_table(result["rows"]))]
    )


def pipeline(result: dict[str, Any]) -> str:
    """Write the time of each part of the pipeline, in one table for each batch size."""
    sizes = result["sizes"]
    text = (
        f"{sizes['backbone']}, images of {sizes['image_size']} pixels, encoders of width "
        f"{sizes['hidden_channels']}, one thread. *share* is the percentage of the time of the "
        "whole pipeline in the same form. *vs eager* is the speed-up over the eager form."
    )
    if "fit" in sizes:
        text += (
            " *pixels* is the distance between the joints of this form and of the eager form, "
            "median and largest. The generator is fitted to its images for "
            f"{sizes['fit']} steps, so that heatmaps have peaks. The other parts are not trained."
        )
    parts = [f"## From an image, {_device(result)}", origin(result), text]
    for found in result["tables"]:
        parts += [f"### batch {found['batch']}", markdown(shares(found["rows"]))]
    return "\n\n".join(parts)


def backbones(result: dict[str, Any]) -> str:
    """Write size and time of each backbone of the heatmap generator."""
    sizes = result["sizes"]
    text = (
        f"`HeatmapGenerator(backbone=...)` for 21 joints, on one image of {sizes['image_size']} "
        "pixels and one thread. *features* are channels of the feature map. *GMAC* is half of the "
        "floating point operations that `torch.utils.flop_counter` counts. *image to 3D* adds "
        f"feature encoders of width {sizes['hidden_channels']} and the core. All are folded and "
        "in channels_last. *in OpenVINO* is the time from image to 3D of the exported network. "
        "Weights are random, which does not change the time."
    )
    cells = markdown(backbones_table(result["rows"]))
    return "\n\n".join([f"## Backbones, {_device(result)}", origin(result), text, cells])


def encoders(result: dict[str, Any]) -> str:
    """Write the accuracy of the feature encoders on rendered hands."""
    sizes = result["sizes"]
    text = (
        f"Rendered hands of {sizes['image_size']} pixels. `{sizes['backbone']}` is trained on "
        f"{sizes['generator_samples']:,} of them (Eq. 2) and frozen. The branches, the merger and "
        f"encoders of width {sizes['hidden_channels']} are trained on {sizes['samples']:,} others "
        f"for {sizes['epochs']} epochs (Eq. 4). The table has the error of visible joints of "
        f"{sizes['tests']:,} further hands, in mm, with scale and root depth known: all, small and "
        "severe occlusion, mean ± standard deviation of "
        f"{sizes['seeds']} trainings. *sampled*: `JointFeatureSampler`, at the detected joints."
    )
    cells = markdown(encoders_table(result["rows"]))
    return "\n\n".join(["## Accuracy of feature encoders", origin(result), text, cells])


def data(result: dict[str, Any]) -> str:
    """Write samples per second, and the time and memory of imports."""
    made = result["simulation"]
    head = ["import", "s", "quartiles", "peak MB of the process"]
    body = [
        [
            f"`{row['name']}`",
            f"{row['median']:.2f}",
            f"{row['q25']:.2f}-{row['q75']:.2f}",
            "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}",
        ]
        for row in result["imports"]
    ]
    speed = (
        f"`SyntheticHands` makes {made['per_second']:.0f} samples per second "
        f"({made['num_samples']} in one call, {made['rounds']} rounds, "
        f"threads {result['threads']}). Its `render` makes "
        + " and ".join(
            f"{row['per_second']:.0f} images of {row['image_size']} pixels"
            for row in result["rendering"]
        )
        + " per second."
    )
    return "\n\n".join(["## Data and import", origin(result), speed, markdown([head, *body])])


def realism(result: dict[str, Any]) -> str:
    """Compare the distributions of simulated and real hands."""
    text = (
        f"{result['num_real']} real hands ({result['real']}) are compared with {result['samples']} "
        f"of the default `SyntheticHands`, seed {result['seed']}. A distance between hands is the "
        "mean over joints after the best similarity transform. The median distance of a real hand "
        f"to the nearest simulated hand is {result['median_mm']:.1f} mm, and "
        f"{100 * result['beyond']:.0f} % have no simulated hand within 10 mm. Lengths are in "
        "keybone lengths, angles in degrees. *outside* is the share of real hands outside the "
        "central 99.8 % of the simulated hands."
    )
    head = ["quantity", "real: 5, 50, 95 %", "simulated: 5, 50, 95 %", "outside"]
    body = [
        [
            row["name"],
            *(", ".join(f"{number:.3g}" for number in row[who]) for who in ("real", "simulated")),
            f"{100 * row['outside']:.0f} %",
        ]
        for row in result["rows"]
    ]
    picture = "![Distributions of simulated and real hands](pictures/realism.png)"
    return "\n\n".join(["## Realism", origin(result), text, picture, markdown([head, *body])])


def tune(result: dict[str, Any]) -> str:
    """Compare the fastest tilings of the Triton engine with those that it chooses."""
    head = ["plan", "batch", "fastest", "us", "chosen", "us", "times slower"]
    body = []
    for found in result["tables"]:
        times = {row["tiling"]: 1e6 * row["median"] for row in found["rows"]}
        (first, least), chosen = next(iter(times.items())), found["chosen"]
        us = times.get(chosen)
        last = ["-", "-"] if us is None else [f"{us:.1f}", f"{us / least:.2f}"]
        body.append([found["work"], str(found["batch"]), first, f"{least:.1f}", chosen, *last])
    return "\n\n".join(["## Tilings of the Triton engine", origin(result), markdown([head, *body])])


SECTIONS = {
    "core": core,
    "threads": threads,
    "scaling": scaling,
    "versions": versions,
    "pipeline": pipeline,
    "backbones": backbones,
    "encoders": encoders,
    "tune": tune,
    "data": data,
    "realism": realism,
}


def read(folder: Path) -> list[dict[str, Any]]:
    """Read all results of a folder, sorted by file name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [result for result in found if "benchmark" in result]  # skips the summary of a GPU run


def main(arguments: list[str] | None = None) -> None:
    """Read the results and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("results", type=Path, help="folder with JSON files")
    parser.add_argument("page", type=Path, help="markdown file to write")
    args = parser.parse_args(arguments)
    args.page.write_text(page(read(args.results)), encoding="utf-8")


if __name__ == "__main__":
    main()
