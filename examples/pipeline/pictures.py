"""Pictures of an evaluation: PCK curves (Fig. 3), median and worst images, heatmaps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from handgraph import HAND
from handgraph.metrics import bootstrap_pck, occlusion_groups, pck_curve, thresholds, visible_mean
from handgraph.plot import draw_image, draw_pck, draw_poses
from pipeline.scores import GROUPS, Predictions

GRID = thresholds(0.05, 51)


def save_curves(nets: Mapping[str, list[Predictions]], path: Path) -> None:
    """PCK of visible joints under small and severe occlusion, with intervals over the images."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    visible = next(iter(nets.values()))[0].visible
    groups = occlusion_groups(visible)
    for ax, group in zip(figure.subplots(1, 2, sharey=True), ("small", "severe"), strict=True):
        images = groups[group]
        rng = torch.Generator().manual_seed(0)
        curves = {
            title: bootstrap_pck(some[0].errors()[images], GRID, visible[images], generator=rng)
            for title, some in nets.items()
        }
        draw_pck(curves, GRID, ax=ax)
        ax.set(title=f"{group} occlusion, {int(images.sum())} images")
    figure.savefig(path, dpi=110)


def write_curves(nets: Mapping[str, list[Predictions]], path: Path) -> None:
    """The same curves as CSV, means over nets: method, group, millimetres, pck."""
    lines = ["method,group,millimetres,pck"]
    for title, some in nets.items():
        groups = occlusion_groups(some[0].visible)
        for group in GROUPS:
            images = groups[group]
            each = [pck_curve(n.errors()[images], GRID, n.visible[images]) for n in some]
            values = torch.stack(each).mean(dim=0).tolist()
            cells = zip((1000 * GRID).tolist(), values, strict=True)
            lines += [f'"{title}",{group},{mm:g},{pck:.6f}' for mm, pck in cells]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ranked(predictions: Predictions, group: str) -> Tensor:
    """The images of a group by their error, the best first; those without a visible joint never."""
    errors, visible = predictions.errors(), predictions.visible
    scored = occlusion_groups(visible)[group] & visible.any(dim=1)
    images = scored.nonzero().squeeze(1)
    means = [visible_mean(errors[i], visible[i]).item() for i in images.tolist()]
    return images[torch.tensor(means).argsort()]


def save_hands(
    images: Mapping[int, Tensor], predictions: Predictions, path: Path, title: str
) -> None:
    """Images with true and predicted joints, and both hands in space. Hidden joints are hollow."""
    figure = Figure(figsize=(3.2 * len(images), 7), layout="constrained")
    for column, (i, image) in enumerate(images.items(), start=1):
        visible = predictions.visible[i]
        ax = draw_image(image, ax=figure.add_subplot(2, len(images), column))
        pixels = {"truth": predictions.true_uv[i], "prediction": predictions.uv[i]}
        draw_poses(pixels, HAND, visible=visible, ax=ax)
        error = 1000 * visible_mean(predictions.errors()[i], visible)
        ax.set(title=f"image {i}: {error:.0f} mm, {int(visible.sum())} visible")
        ax.axis("off")
        space = figure.add_subplot(2, len(images), len(images) + column, projection="3d")
        hands = {"truth": predictions.true_xyz[i], "prediction": predictions.xyz[i]}
        draw_poses(hands, HAND, visible=visible, ax=space)
        without_numbers(space)
    figure.suptitle(title)
    figure.savefig(path, dpi=90)


def without_numbers(space: Axes) -> None:
    """Leave out ticks and labels of 3D axes, which small panels have no room for."""
    space.set(xticklabels=[], yticklabels=[], zticklabels=[], xlabel="", ylabel="", zlabel="")
    space.get_legend().remove()


def save_heatmaps(image: Tensor, heatmaps: Tensor, uv: Tensor, path: Path) -> None:
    """An image, and the heatmap of each joint over it with its peak."""
    figure = Figure(figsize=(15, 6.5), layout="constrained")
    size = image.shape[-1]
    extent = (-0.5, size - 0.5, size - 0.5, -0.5)
    for position, ax in enumerate(figure.subplots(3, 7).flat):
        draw_image(image, ax=ax)
        ax.imshow(heatmaps[position].float().numpy(), extent=extent, alpha=0.6, cmap="cividis")
        ax.plot(*uv[position].tolist(), "x", color="white", markersize=6)
        ax.set_title(HAND.joints[position], fontsize=8)
        ax.axis("off")
    figure.savefig(path, dpi=80)
