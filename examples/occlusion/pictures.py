"""The pictures of a run: PCK curves (Fig. 3) and predicted against true hands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from handgraph import HAND
from handgraph.metrics import occlusion_groups, pck_curve, thresholds
from occlusion.methods import METHODS
from occlusion.settings import ALL_INPUTS, MAIN_INPUTS, REGIMES, Job

COLOURS = {
    "cai": "#CC79A7",
    "hopenet": "#E69F00",
    "psjnet": "#0072B2",
    "ensemble": "#009E73",
    "learned": "#D55E00",
}
"""Colour-blind-safe (Okabe and Ito)."""

STYLES = {"cai": ":", "hopenet": "--", "psjnet": "-", "ensemble": "-.", "learned": "-"}

SHOWN_INPUTS = {"learned": ALL_INPUTS}
"""Inputs of the methods that are not shown with the main ones."""


def save_curves(results: dict[Job, dict[str, Any]], visible: Tensor, path: Path) -> None:
    """PCK of visible joints under small and severe occlusion; bands span the nets of a method."""
    groups = occlusion_groups(visible)
    figure = Figure(figsize=(9, 7))
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, regime in zip(axes, REGIMES, strict=True):
        for axis, group in zip(row, ("small", "severe"), strict=True):
            for method in COLOURS:
                nets = _nets(results, method, regime)
                if nets:
                    _curve(axis, method, nets, visible, groups[group])
            axis.set_title(f"{group} occlusion, {regime} in training", fontsize=10)
            axis.set(ylim=(0, 1))
            axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("error threshold (mm)")
    for axis in axes[:, 0]:
        axis.set_ylabel("PCK of visible joints")
    axes[0, 0].legend(fontsize=8, loc="lower right")
    figure.suptitle(
        f"Simulated hands, inputs {MAIN_INPUTS}; learned visibility: {ALL_INPUTS}", fontsize=11
    )
    _save(figure, path)


def _curve(
    axis: Axes, method: str, nets: Sequence[dict[str, Any]], visible: Tensor, images: Tensor
) -> None:
    grid = thresholds(steps=51)
    curves = torch.stack([pck_curve(net["errors"][images], grid, visible[images]) for net in nets])
    low, high = curves.min(dim=0).values, curves.max(dim=0).values
    axis.plot(1000 * grid, curves.mean(dim=0), STYLES[method], color=COLOURS[method],
              label=METHODS[method].title)  # fmt: skip
    axis.fill_between(1000 * grid, low, high, color=COLOURS[method], alpha=0.2, linewidth=0)


def save_hands(
    results: dict[Job, dict[str, Any]], hands: dict[str, Tensor], path: Path, regime: str = "unseen"
) -> None:
    """Predicted against true hands on the first severe test images, hidden joints as crosses."""
    severe = occlusion_groups(hands["visible"])["severe"]
    methods = [method for method in COLOURS if _nets(results, method, regime)]
    predicted = [_nets(results, method, regime)[0]["hands"] for method in methods]
    columns = min(4, len(predicted[0]))
    figure = Figure(figsize=(3 * columns, 3 * len(methods)))
    for row, (method, poses) in enumerate(zip(methods, predicted, strict=True)):
        for column in range(columns):
            axis = figure.add_subplot(
                len(methods), columns, row * columns + column + 1, projection="3d"
            )
            truth, visible = hands["xyz"][severe][column], hands["visible"][severe][column]
            _hand(axis, truth, visible, "#999999")
            _hand(axis, poses[column], visible, COLOURS[method])
            _look(axis, truth)
            if column == 0:
                axis.text2D(0, 1, METHODS[method].title, transform=axis.transAxes, fontsize=9)
    figure.suptitle(
        f"Severe occlusion, {regime} in training; grey: true hand, crosses: hidden joints",
        fontsize=11,
    )
    _save(figure, path)


def _hand(axis: Axes, xyz: Tensor, visible: Tensor, colour: str) -> None:
    x, y, z = (1000 * xyz).unbind(dim=-1)
    for parent, child in HAND.bones.t().tolist():
        ends = [parent, child]
        axis.plot(x[ends], z[ends], -y[ends], color=colour, linewidth=1.2)
    for marker, some in (("o", visible), ("x", ~visible)):
        axis.scatter(x[some], z[some], -y[some], color=colour, marker=marker, s=12)


def _look(axis: Axes, truth: Tensor) -> None:
    """The same cube around the true hand in every panel, 240 mm wide."""
    x, y, z = (1000 * truth.mean(dim=0)).tolist()
    axis.set(xlim=(x - 120, x + 120), ylim=(z - 120, z + 120), zlim=(-y - 120, -y + 120))
    axis.set(xticklabels=[], yticklabels=[], zticklabels=[])
    axis.view_init(elev=15, azim=-70)


def _nets(results: dict[Job, dict[str, Any]], method: str, regime: str) -> list[dict[str, Any]]:
    return [
        result
        for job, result in results.items()
        if (job.method, job.regime, job.inputs)
        == (method, regime, SHOWN_INPUTS.get(method, MAIN_INPUTS))
    ]


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
