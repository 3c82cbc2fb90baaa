"""The pictures of a run: PCK curves (Fig. 3), and predicted hands over true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handgraph.metrics import Interval, pck_curve
from occlusion.methods import METHODS
from occlusion.running import images_shown
from occlusion.settings import ALL_INPUTS, MAIN_INPUTS, REGIMES, Job
from shared.pictures import GRID, Shown, save_curves

Result = dict[str, Any]

SHOWN = dict.fromkeys(("cai", "hopenet", "psjnet", "ensemble"), MAIN_INPUTS)
SHOWN["learned"] = ALL_INPUTS
"""The methods in the pictures and their inputs; all inputs if a run has only such nets."""


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
    nets: dict[tuple[str, str], list[Result]] = {}
    for job, result in results.items():
        if job.regime == regime:
            nets.setdefault((job.method, job.inputs), []).append(result)
    shown = {
        METHODS[method].title: nets.get((method, inputs)) or nets.get((method, ALL_INPUTS))
        for method, inputs in SHOWN.items()
    }
    return {title: some for title, some in shown.items() if some}
