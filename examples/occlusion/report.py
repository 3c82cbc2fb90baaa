"""Write the results of a run: ``table2.md`` and ``results.json``."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy
import scipy
import torch
import torch_geometric

import handgraph
from occlusion.masked import DROPOUT
from occlusion.methods import METHODS
from occlusion.settings import REGIMES, Preset
from occlusion.table import REFERENCE, Row, markdown

MODULES = (handgraph, torch, torch_geometric, numpy, scipy)

PAPER = """\
| method | All | Small | Severe | Rel |
|---|---:|---:|---:|---:|
| Cai et al. | 0.4055 | 0.4061 | 0.3006 | 0.7402 |
| HopeNet | 0.4606 | 0.4624 | 0.3869 | 0.8366 |
| Proposed (PSJNet) | 0.4889 | 0.4901 | 0.4394 | 0.8965 |
"""

TRAINING = {
    "seen": "training images are occluded like the test images",
    "unseen": "training has clean detections only, and test images are occluded",
}


def table2(rows: dict[str, Sequence[Row]], preset: Preset, name: str, visible: torch.Tensor) -> str:
    """Format the report as Markdown: the rows of each detector, by regime."""
    severe = int((visible.sum(dim=1) < 11).sum())
    small = "**Preset {}: short training, not the full run.**".format
    parts = [
        f"# Table 2 on simulated hands ({name} preset)",
        *([small(name)] if name in ("smoke", "quick") else []),
        _legend(preset),
        f"{preset.num_train} training and {preset.num_test} test images ({severe} severe), "
        f"{preset.epochs} epochs for every method.",
    ]
    for (detector, found), regime in product(rows.items(), REGIMES):
        which = "" if len(rows) == 1 else f" ({detector} detector)"
        title = f"## {regime.capitalize()}{which}: {TRAINING[regime]}"
        parts += [title, markdown(found, regime)]
    parts += [
        "*Random joints zeroed* and *hidden joints zeroed* set the inputs of these joints to 0 and "
        f"add a flag. *Random*: {100 * DROPOUT:.0f} % of the joints in training, none in the test. "
        "*Hidden*: the truly hidden joints; with clean training images, random joints in training.",
        "All rows from *a head for each joint* on have such heads. If they remove a joint, it "
        "neither sends nor receives. *Dropout* removes random joints, regions of up to 2 hops, "
        "fingers or levels in training. *8 draws* keep each joint with the probability given by "
        "the score or the learned visibility. *Learned visibility* is the output of a small U-Net, "
        "trained on the labels of occluded training images, or on simulated occlusions if training "
        "images are clean. *Simulated occlusions* follow the detector model of the test images, "
        "*crude simulation* does not. Rows that remove joints by score do not have it as an input "
        "of the lifter.",
        "## Numbers of the paper: images of RHD, not comparable with the tables above",
        PAPER,
    ]
    return "\n\n".join(parts)


def _legend(preset: Preset) -> str:
    """Describe the columns of the table."""
    seeds = len(preset.seeds)
    columns = {
        "All*, *Small*, *Severe": "AUC x 100 of the PCK of visible joints, pooled, 0 to 50 mm in "
        "20 steps, in the camera frame with known scale, root depth and K; severe images have at "
        "most 10 visible joints",
        "Rel": "Severe / Small, in %",
        "Gap": "gain in Severe from clean inputs at the hidden joints",
        "Hidden": "mean error of hidden joints in all images, mm",
        "networks": "number of trained networks; values are mean ± standard deviation over "
        f"{seeds} seeds x {len(preset.draws)} training sets, or over the seeds with the first "
        f"training set where *networks* is {seeds}",
        "95 % interval": "of Severe, by bootstrap over test images, networks averaged",
        "difference": f"of Severe from *{METHODS[REFERENCE].title}* with the same inputs",
    }
    return "\n".join(f"- *{name}*: {text}" for name, text in columns.items())


def results_json(
    rows: dict[str, Sequence[Row]],
    preset: Preset,
    name: str,
    rates: dict[tuple[str, str], float],
    tuning: list[dict[str, Any]],
) -> str:
    """Format all numbers, settings, versions and the machine as JSON."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    processor = re.search(r"model name\s*:\s*(.*)", text)
    content = {
        "preset": name,
        "settings": asdict(preset),
        "rates": {f"{method}, {regime}": rate for (method, regime), rate in rates.items()},
        "tuning": tuning,
        "rows": [
            {"title": METHODS[row.method].title, "detector": detector, **row._asdict()}
            for detector, found in rows.items()
            for row in found
        ],
        "versions": {"python": platform.python_version()}
        | {module.__name__: module.__version__ for module in MODULES},
        "machine": {
            "processor": processor[1] if processor else platform.processor(),
            "cores": os.cpu_count(),
            "os": platform.platform(),
        },
    }
    return json.dumps(content, indent=1)
