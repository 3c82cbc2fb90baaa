"""Write what a run found: ``table2.md`` and ``results.json``."""

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
from occlusion.inputs import DROPOUT
from occlusion.methods import METHODS
from occlusion.settings import REGIMES, Preset
from occlusion.table import Row, markdown

MODULES = (handgraph, torch, torch_geometric, numpy, scipy)

PAPER = """\
| method | All | Small | Severe | Rel |
|---|---:|---:|---:|---:|
| Cai et al. | 0.4055 | 0.4061 | 0.3006 | 0.7402 |
| HopeNet | 0.4606 | 0.4624 | 0.3869 | 0.8366 |
| Proposed (PSJNet) | 0.4889 | 0.4901 | 0.4394 | 0.8965 |
"""

TRAINING = {
    "seen": "Training images are occluded as the test images are.",
    "unseen": "Training saw clean detections only; the test images are occluded.",
}


def table2(rows: dict[str, Sequence[Row]], preset: Preset, name: str, visible: torch.Tensor) -> str:
    """Give the whole report as markdown: the rows of each detector, by regime."""
    severe = int((visible.sum(dim=1) < 11).sum())
    small = "**{}: a small training budget, not the full run.**".format
    parts = [
        f"# Table 2 on simulated hands ({name} preset)",
        *([small(name)] if name in ("smoke", "quick") else []),
        "AUC x 100 of the PCK of visible joints, pooled, 0 to 50 mm in 20 steps, camera space with "
        "known scale, root depth and K. Severe: at most 10 visible joints. Rel: Severe / Small. "
        "Gap: what Severe would gain from clean inputs at the hidden joints. Hidden: mean error of "
        "hidden joints over all images, mm. Mean ± standard "
        f"deviation over {len(preset.seeds)} seeds x {len(preset.draws)} training sets, or the "
        f"first set only where *nets* is {len(preset.seeds)}; intervals by bootstrap over the test "
        f"images, nets averaged. {preset.num_train} training and {preset.num_test} test images "
        f"({severe} severe), {preset.epochs} epochs for every method.",
    ]
    for (detector, found), regime in product(rows.items(), REGIMES):
        law = "" if len(rows) == 1 else f" Detector: {detector}."
        title = f"## {regime.capitalize()}: {TRAINING[regime]}{law}"
        parts += [title, markdown(found, regime)]
    parts += [
        "*One graph U-Net, joint dropout* and *true masks* zero the inputs of hidden joints and "
        f"flag them: {100 * DROPOUT:.0f} % of the joints at random in training and none in the "
        "test, or what is truly hidden (in training on clean detections: at random).",
        "Rows after *a head per joint* have such heads, and remove joints exactly: hidden ones "
        "neither send nor receive. *Dropout* rows lose joints, regions of up to 2 hops, fingers or "
        "levels at random in training. *8 draws* keep each joint with the probability that the "
        "score, or the learned visibility, says. *Learned visibility* is the output of a small "
        "U-Net, trained on the labels of occluded training images, or on simulated occlusions "
        "where training images are clean. *Simulated* ones follow the detector model of the test, "
        "*crude* ones do not. The score is no input of lifting in rows that remove joints by it.",
        "## The paper's own numbers: RHD images, not comparable with the above",
        PAPER,
    ]
    return "\n\n".join(parts)


def results_json(
    rows: dict[str, Sequence[Row]],
    preset: Preset,
    name: str,
    rates: dict[tuple[str, str], float],
    tuning: list[dict[str, Any]],
) -> str:
    """Give all numbers, settings, versions and the machine as JSON."""
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
