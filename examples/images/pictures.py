"""Pictures of what a heatmap generator finds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from handgraph.metrics import visible_mean
from handgraph.plot import draw_image, draw_poses

GROUPS = {"0-5": (0, 5), "6-10": (6, 10), "11-15": (11, 15), "16-20": (16, 20), "21": (21, 21)}
"""Numbers of visible joints, from and to."""


def save_errors(hand: dict[str, Tensor], path: Path) -> None:
    """The mean error against the number of visible joints in the image."""
    axis = Figure(figsize=(6, 4), layout="constrained").subplots()
    seen, errors = hand["visible"], (hand["found"] - hand["uv"]).norm(dim=-1)
    count = seen.sum(dim=-1)
    groups = [(count >= low) & (count <= high) for low, high in GROUPS.values()]
    for label, mask, style in (("visible", seen, "o-"), ("hidden", ~seen, "s--")):
        means = [visible_mean(errors[group], mask[group]).item() for group in groups]
        axis.plot([*GROUPS], means, style, label=label)
    axis.set(xlabel="visible joints in the image", ylabel="mean error (pixels)", ylim=(0, None))
    axis.legend(title="joints")
    axis.figure.savefig(path, dpi=110)


def save_hands(hand: dict[str, Tensor], path: Path) -> None:
    """The heatmaps over each image, and below them the joints: hidden ones are hollow."""
    figure = Figure(figsize=(2.6 * len(hand["image"]), 5.4), layout="constrained")
    axes = figure.subplots(2, len(hand["image"]), squeeze=False)
    for i, (top, bottom) in enumerate(axes.T):
        draw_heatmaps(hand["image"][i], hand["heatmaps"][i], top)
        poses = {"truth": hand["uv"][i], "found": hand["found"][i]}
        draw_poses(poses, visible=hand["visible"][i], ax=draw_image(hand["image"][i], ax=bottom))
        error = (hand["found"][i] - hand["uv"][i]).norm(dim=-1).mean().item()
        bottom.set_title(f"mean error {error:.1f} pixels", fontsize=10)
        for axis in (top, bottom):
            axis.axis("off")
        if i > 0:
            bottom.get_legend().remove()
    figure.savefig(path, dpi=110)


def draw_heatmaps(image: Tensor, heatmaps: Tensor, ax: Axes) -> None:
    """The highest of all heatmaps, the more opaque the higher."""
    draw_image(image, ax=ax)
    size, highest = image.shape[-1], heatmaps.amax(dim=0).clamp(0, 1).numpy()
    edges = (-0.5, size - 0.5, size - 0.5, -0.5)
    shown = {"cmap": "inferno", "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    ax.imshow(highest, alpha=highest**0.5, extent=edges, **shown)
