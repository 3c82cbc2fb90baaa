"""The pictures of a run: PCK curves (Fig. 3) and predicted against true hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from handgraph.metrics import Interval, pck_curve, visible_mean
from handgraph.plot import draw_pose, draw_pose_3d
from occlusion.methods import METHODS
from occlusion.running import images_shown
from occlusion.settings import ALL_INPUTS, MAIN_INPUTS, REGIMES, Job
from shared.pictures import GRID, save_curves

Result = dict[str, Any]

SHOWN = dict.fromkeys(("cai", "hopenet", "psjnet", "ensemble"), MAIN_INPUTS)
SHOWN["learned"] = ALL_INPUTS
"""The methods in the pictures, and their inputs; all inputs where a run has no other nets."""

TRUTH, PREDICTION = "#BBBBBB", "#0072B2"
CUBE = 0.2
"""Metres around the true hand, the same in every panel."""


def save_bands(results: Mapping[Job, Result], visible: Tensor, path: Path) -> None:
    """PCK of visible joints in both regimes; bands span the nets of a method."""

    def bands(regime: str, images: Tensor) -> dict[str, Interval]:
        nets = nets_shown(results, regime)
        return {title: band(some, visible, images) for title, some in nets.items()}

    rows = {f", {regime} in training": partial(bands, regime) for regime in REGIMES}
    title = f"Simulated hands, inputs {MAIN_INPUTS}; learned visibility: {ALL_INPUTS}"
    save_curves(rows, visible, path, title)


def band(nets: Sequence[Result], visible: Tensor, images: Tensor) -> Interval:
    """Mean, least and largest PCK of the nets."""
    curves = torch.stack([pck_curve(net["errors"][images], GRID, visible[images]) for net in nets])
    return Interval(curves.mean(dim=0), curves.amin(dim=0), curves.amax(dim=0))


def save_hands(results: Mapping[Job, Result], hands: Mapping[str, Tensor], path: Path) -> None:
    """The first severe test images: detected joints, and the hand that each method predicts."""
    nets = {title: some[0] for title, some in nets_shown(results, "unseen").items()}
    images = images_shown(hands["visible"]).tolist()
    size = len(images), 1 + len(nets)
    figure = Figure(figsize=(2.3 * size[1], 2.4 * size[0] + 0.6), layout="constrained")
    for row, image in enumerate(images):
        place = row * size[1] + 1
        hand = {name: tensor[image] for name, tensor in hands.items()}
        seen, ax = hand["visible"], figure.add_subplot(*size, place)
        for name, color in (("uv_true", TRUTH), ("uv", PREDICTION)):
            draw_pose(hand[name], visible=seen, color=color, ax=ax).set_axis_off()
        ax.set_title(f"detected; {int(seen.sum())} of 21 visible", fontsize=9)
        for column, (title, net) in enumerate(nets.items(), start=1):
            space = figure.add_subplot(*size, place + column, projection="3d", elev=15, azim=-60)
            draw_in_cube(space, {TRUTH: hand["xyz"], PREDICTION: net["hands"][row]}, seen)
            error = f"{1000 * visible_mean(net['errors'][image], seen):.0f} mm"
            space.set_title(f"{fill(title, 24)}\n{error}" if row == 0 else error, fontsize=9)
    figure.suptitle(
        "Severe occlusion, unseen in training. Grey: the true hand; hollow: hidden joints; "
        "mm: mean error of the visible joints", fontsize=10,
    )  # fmt: skip
    figure.savefig(path, dpi=110)


def draw_in_cube(space: Axes3D, hands: Mapping[str, Tensor], visible: Tensor) -> None:
    """Hands by colour, in a cube around the first, to the same scale in all panels."""
    for color, xyz in hands.items():
        draw_pose_3d(xyz, visible=visible, color=color, unit="m", ax=space)
    x, y, z = next(iter(hands.values())).mean(dim=0).tolist()
    low, high = -CUBE / 2, CUBE / 2
    space.set(xlim=(x + low, x + high), ylim=(z + low, z + high), zlim=(y + high, y + low))
    space.set_box_aspect((1, 1, 1), zoom=1.35)
    space.set_axis_off()


def nets_shown(results: Mapping[Job, Result], regime: str) -> dict[str, list[Result]]:
    """The nets in the pictures by the title of their method, if the run holds it."""
    nets: dict[tuple[str, str], list[Result]] = {}
    for job, result in results.items():
        if job.regime == regime:
            nets.setdefault((job.method, job.inputs), []).append(result)
    shown = {
        METHODS[method].title: nets.get((method, inputs)) or nets.get((method, ALL_INPUTS))
        for method, inputs in SHOWN.items()
    }
    return {title: some for title, some in shown.items() if some}
