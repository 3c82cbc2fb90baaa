"""The results of a run: Table 2 as Markdown and JSON, PCK curves (Fig. 3), predicted hands."""

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from string import Template

import numpy
import scipy
import torch
import torch_geometric
from torch import Tensor

import handgraph
from handgraph.metrics import Interval, occlusion_groups, pck_curve
from occlusion.masked import DROPOUT
from occlusion.methods import METHODS
from occlusion.running import images_shown
from occlusion.settings import ALL_INPUTS, MAIN_INPUTS, REGIMES, Job, Preset
from occlusion.table import REFERENCE, Result, Row, grouped, markdown
from shared.pictures import GRID, Shown, save_curves

SHOWN = dict.fromkeys(("cai", "hopenet", "psjnet", "ensemble"), MAIN_INPUTS)
SHOWN["learned"] = ALL_INPUTS
"""The methods in the pictures with their inputs, or with all inputs if a run has no such nets."""

TRAINING = {
    "seen": "training images are occluded like the test images",
    "unseen": "training has clean detections only, and test images are occluded",
}


def table2(rows: dict[str, Sequence[Row]], preset: Preset, name: str, visible: Tensor) -> str:
    """Format the report as Markdown: the rows of each detector, by regime."""
    tables = []
    for (detector, found), regime in product(rows.items(), REGIMES):
        which = "" if len(rows) == 1 else f" ({detector} detector)"
        title = f"## {regime.capitalize()}{which}: {TRAINING[regime]}"
        tables += [title, markdown(found, regime)]
    short = ": short training, not the full run" if name in ("smoke", "quick") else ""
    values = {
        **asdict(preset),
        "preset": f"{name} preset{short}",
        "seeds": len(preset.seeds),
        "draws": len(preset.draws),
        "reference": METHODS[REFERENCE].title,
        "num_severe": int(occlusion_groups(visible)["severe"].sum()),
        "dropout": f"{100 * DROPOUT:.0f}",
        "tables": "\n\n".join(tables),
    }
    template = Path(__file__).with_name("table2.md").read_text(encoding="utf-8")
    return Template(template).substitute(values)


def results_json(rows: dict[str, Sequence[Row]], preset: Preset, name: str, **more: object) -> str:
    """Format all numbers, settings, versions and the machine as JSON."""
    modules = (handgraph, torch, torch_geometric, numpy, scipy)
    versions = {module.__name__: module.__version__ for module in modules}
    info = Path("/proc/cpuinfo")
    text = info.read_text("utf-8") if info.exists() else ""
    found = re.search(r"model name\s*:\s*(.*)", text)
    processor = found[1] if found else platform.processor()
    content = {
        "preset": name,
        "settings": asdict(preset),
        **more,
        "rows": [
            {"title": METHODS[row.method].title, "detector": detector, **row._asdict()}
            for detector, found in rows.items()
            for row in found
        ],
        "versions": {"python": platform.python_version(), **versions},
        "machine": {"processor": processor, "cores": os.cpu_count(), "os": platform.platform()},
    }
    return json.dumps(content, indent=1)


def save_bands(results: Mapping[Job, Result], visible: Tensor, path: Path) -> None:
    """Draw the PCK of visible joints in both regimes; bands span the nets of a method."""
    rows = {f", {regime} in training": nets_shown(results, regime) for regime in REGIMES}
    title = f"Simulated hands, inputs {MAIN_INPUTS}; learned visibility: {ALL_INPUTS}"
    save_curves(rows, partial(band, visible), visible, path, title)


def band(visible: Tensor, nets: Sequence[Result], images: Tensor) -> Interval:
    """Return the mean, smallest and largest PCK of the nets."""
    curves = torch.stack([pck_curve(net["errors"][images], GRID, visible[images]) for net in nets])
    return Interval(curves.mean(dim=0), curves.amin(dim=0), curves.amax(dim=0))


def shown(results: Mapping[Job, Result], hands: Mapping[str, Tensor]) -> list[Shown]:
    """Return detected joints and each method's hand for the first severe test images."""
    nets = {title: some[0] for title, some in nets_shown(results, "unseen").items()}
    rows = []
    for row, image in enumerate(images_shown(hands["visible"]).tolist()):
        hand = {name: tensor[image] for name, tensor in hands.items()}
        joints = (hand[name] for name in ("visible", "uv_true", "uv", "xyz"))
        rows.append(Shown("detected", *joints, {n: net["hands"][row] for n, net in nets.items()}))
    return rows


def nets_shown(results: Mapping[Job, Result], regime: str) -> dict[str, list[Result]]:
    """Return the nets in the pictures by method title, for the methods in the run."""
    nets, found = grouped(results), {}
    for method, inputs in SHOWN.items():
        some = nets.get((regime, inputs, method)) or nets.get((regime, ALL_INPUTS, method))
        if some:
            found[METHODS[method].title] = some
    return found
