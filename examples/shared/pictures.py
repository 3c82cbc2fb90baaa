"""Pictures of poses that several examples write: PCK curves (Fig. 3), and joints over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from handgraph import HAND
from handgraph.metrics import Interval, occlusion_groups, thresholds
from handgraph.plot import draw_image, draw_pck, draw_pose, draw_pose_3d

GRID = thresholds(0.05, 51)

Curves = Callable[[Tensor], dict[str, Interval]]
"""From the images of a group, Bool ``[n]``, to curves by name."""


def save_curves(rows: Mapping[str, Curves], visible: Tensor, path: Path, title: str = "") -> None:
    """PCK of visible joints under small and severe occlusion, a row for each name of curves."""
    figure = Figure(figsize=(10, 1 + 3.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, sharex=True, sharey=True, squeeze=False)
    groups = occlusion_groups(visible)
    for row, (name, curves) in zip(axes, rows.items(), strict=True):
        for ax, group in zip(row, ("small", "severe"), strict=True):
            images = groups[group]
            if images.any():
                draw_pck(curves(images), GRID, ax=ax)
            ax.set_title(f"{group} occlusion{name}, {int(images.sum())} images", fontsize="medium")
            ax.label_outer()
    for legend in filter(None, (ax.get_legend() for ax in figure.axes[1:])):
        legend.remove()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def save_heatmaps(image: Tensor, heatmaps: Tensor, uv: Tensor, path: Path) -> None:
    """An image, and the heatmap of each joint over it with its peak: where, and how high."""
    figure = Figure(figsize=(15, 6.5), layout="constrained")
    edge = image.shape[-1] - 0.5
    for ax, heatmap, joint, name in zip(
        figure.subplots(3, 7).flat, heatmaps.float().numpy(), uv.tolist(), HAND.joints, strict=True
    ):
        draw_image(image, ax=ax).axis("off")
        ax.imshow(heatmap, extent=(-0.5, edge, edge, -0.5), alpha=0.6, cmap="cividis", vmin=0)
        ax.plot(*joint, "x", color="white", markersize=6)
        ax.set_title(f"{name}: {heatmap.max():.2f}", fontsize=9)
    figure.savefig(path, dpi=80)


def save_overlay(crop: Tensor, uv: Tensor, d: Tensor, path: Path) -> None:
    """The crop with the pose, and the pose in space: units of one keybone, seen from the camera."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    draw_pose(uv, HAND, ax=draw_image(crop, ax=figure.add_subplot(1, 2, 1)))
    bone = torch.linalg.vector_norm(uv[HAND.index("middle_pip")] - uv[HAND.index("middle_mcp")])
    flat = (uv - uv[HAND.index("wrist")]) / bone.clamp(min=1)
    space = figure.add_subplot(1, 2, 2, projection="3d")
    draw_pose_3d(torch.cat([flat, d[:, None]], dim=-1), HAND, ax=space)
    space.locator_params(axis="y", nbins=2)  # a flat hand has no room for more
    space.set(title="depth relative to the wrist", xlabel="u (projected keybones)")
    space.set(ylabel="d (keybones)", zlabel="v")
    figure.savefig(path, dpi=90)
