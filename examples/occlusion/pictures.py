"""The pictures of a run: PCK curves (Fig. 3) and predicted against true hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from handgraph.metrics import Interval, occlusion_groups, pck_curve, thresholds, visible_mean
from handgraph.plot import draw_pck, draw_pose, draw_pose_3d
from occlusion.methods import METHODS
from occlusion.running import images_shown
from occlusion.settings import ALL_INPUTS, MAIN_INPUTS, REGIMES, Job

SHOWN = {
    "cai": MAIN_INPUTS,
    "hopenet": MAIN_INPUTS,
    "psjnet": MAIN_INPUTS,
    "ensemble": MAIN_INPUTS,
    "learned": ALL_INPUTS,
}
"""The methods in the pictures, and their inputs; all inputs where a run has no other nets."""

GRID = thresholds(steps=51)
TRUTH, PREDICTION = "#BBBBBB", "#0072B2"
CUBE = 0.2
"""Metres around the true hand, the same in every panel."""


def save_curves(results: Mapping[Job, dict[str, Any]], visible: Tensor, path: Path) -> None:
    """PCK of visible joints under small and severe occlusion; bands span the nets of a method."""
    groups = occlusion_groups(visible)
    figure = Figure(figsize=(9, 7), layout="constrained")
    for row, regime in zip(figure.subplots(2, 2, sharex=True, sharey=True), REGIMES, strict=True):
        nets = nets_shown(results, regime)
        for ax, group in zip(row, ("small", "severe"), strict=True):
            images = groups[group]
            draw_pck(
                {title: band(some, visible, images) for title, some in nets.items()}, GRID, ax=ax
            )
            ax.set_title(f"{group} occlusion, {regime} in training", fontsize=10)
            ax.set_ylabel("PCK of visible joints")
            ax.label_outer()
            if (regime, group) != (REGIMES[0], "small"):
                ax.get_legend().remove()
    figure.suptitle(f"Simulated hands, inputs {MAIN_INPUTS}; learned visibility: {ALL_INPUTS}")
    figure.savefig(path, dpi=110)


def band(nets: Sequence[dict[str, Any]], visible: Tensor, images: Tensor) -> Interval:
    """Mean, least and largest PCK of the nets."""
    curves = torch.stack([pck_curve(net["errors"][images], GRID, visible[images]) for net in nets])
    return Interval(curves.mean(dim=0), curves.amin(dim=0), curves.amax(dim=0))


def save_hands(
    results: Mapping[Job, dict[str, Any]], hands: Mapping[str, Tensor], path: Path
) -> None:
    """The first severe test images: what was detected, and what each method makes of it."""
    nets = {title: some[0] for title, some in nets_shown(results, "unseen").items()}
    images = images_shown(hands["visible"]).tolist()
    columns = 1 + len(nets)
    figure = Figure(figsize=(2.3 * columns, 2.4 * len(images) + 0.6), layout="constrained")
    for row, image in enumerate(images):
        first = row * columns + 1
        hand = {name: tensor[image] for name, tensor in hands.items()}
        _detected(figure.add_subplot(len(images), columns, first), hand)
        for place, (title, net) in enumerate(nets.items(), start=first + 1):
            space = figure.add_subplot(len(images), columns, place, projection="3d")
            _predicted(space, net["hands"][row], hand)
            error = 1000 * visible_mean(net["errors"][image], hand["visible"])
            space.set_title(
                f"{title}\n{error:.0f} mm" if row == 0 else f"{error:.0f} mm", fontsize=9
            )
    figure.suptitle(
        "Severe occlusion, unseen in training. Grey: the true hand; hollow: hidden joints; "
        "mm: mean error of the visible joints", fontsize=10,
    )  # fmt: skip
    figure.savefig(path, dpi=110)


def _detected(ax: Axes, hand: Mapping[str, Tensor]) -> None:
    """Detected over true joints in the image."""
    draw_pose(hand["uv_true"], visible=hand["visible"], color=TRUTH, ax=ax)
    draw_pose(hand["uv"], visible=hand["visible"], color=PREDICTION, ax=ax)
    ax.set_title(f"detected; {int(hand['visible'].sum())} of 21 visible", fontsize=9)
    ax.axis("off")


def _predicted(space: Axes3D, xyz: Tensor, hand: Mapping[str, Tensor]) -> None:
    """A predicted over the true hand, all panels to the same scale, seen from beside the camera."""
    draw_pose_3d(hand["xyz"], visible=hand["visible"], color=TRUTH, ax=space)
    draw_pose_3d(xyz, visible=hand["visible"], color=PREDICTION, unit="m", ax=space)
    x, y, z = hand["xyz"].mean(dim=0).tolist()
    near = (-CUBE / 2, CUBE / 2)
    space.set(xlim=[x + end for end in near], ylim=[z + end for end in near],
              zlim=[y - end for end in near])  # fmt: skip
    space.set_box_aspect((1, 1, 1), zoom=1.35)
    space.view_init(elev=15, azim=-60)
    space.set_axis_off()


def nets_shown(
    results: Mapping[Job, dict[str, Any]], regime: str
) -> dict[str, list[dict[str, Any]]]:
    """The nets in the pictures by the title of their method, if the run holds it."""
    nets: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job, result in results.items():
        if job.regime == regime:
            nets.setdefault((job.method, job.inputs), []).append(result)
    shown = {
        METHODS[method].title: nets.get((method, inputs)) or nets.get((method, ALL_INPUTS))
        for method, inputs in SHOWN.items()
    }
    return {title: some for title, some in shown.items() if some}
