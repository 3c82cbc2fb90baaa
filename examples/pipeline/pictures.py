"""Pictures of an evaluation: PCK curves (Fig. 3), median and worst images, heatmaps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from curves import GRID, draw_curves
from handgraph import HAND
from handgraph.metrics import Interval, bootstrap_pck, occlusion_groups, pck_curve, visible_mean
from handgraph.plot import draw_image, draw_pose, draw_pose_3d, draw_poses
from pipeline.scores import GROUPS, Predictions


def save_curves(nets: Mapping[str, list[Predictions]], path: Path) -> None:
    """The curves of the first net of each method, with intervals over the images."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    visible = next(iter(nets.values()))[0].visible

    def curves(images: Tensor) -> dict[str, Interval]:
        rng = torch.Generator().manual_seed(0)
        errors = {title: some[0].errors()[images] for title, some in nets.items()}
        seen = visible[images]
        return {t: bootstrap_pck(e, GRID, seen, generator=rng) for t, e in errors.items()}

    draw_curves(figure.subplots(1, 2, sharey=True), visible, curves)
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
        if column > 1:
            ax.get_legend().remove()
        error = 1000 * visible_mean(predictions.errors()[i], visible)
        ax.set(title=f"image {i}: {error:.0f} mm, {int(visible.sum())} visible")
        ax.axis("off")
        space = figure.add_subplot(2, len(images), len(images) + column, projection="3d")
        hands = {"truth": predictions.true_xyz[i], "prediction": predictions.xyz[i]}
        draw_poses(hands, HAND, visible=visible, ax=space).get_legend().remove()
        space.set(xlabel="", ylabel="", zlabel="")
        for axis in (space.xaxis, space.yaxis, space.zaxis):
            axis.set_major_formatter(NullFormatter())  # empty tick labels confuse the layout
    figure.suptitle(title)
    figure.savefig(path, dpi=90)


def save_heatmaps(image: Tensor, heatmaps: Tensor, uv: Tensor, path: Path) -> None:
    """An image, and the heatmap of each joint over it with its peak: where, and how high."""
    figure = Figure(figsize=(15, 6.5), layout="constrained")
    size = image.shape[-1]
    extent = (-0.5, size - 0.5, size - 0.5, -0.5)
    for ax, heatmap, joint, name in zip(
        figure.subplots(3, 7).flat, heatmaps.float().numpy(), uv.tolist(), HAND.joints, strict=True
    ):
        draw_image(image, ax=ax).axis("off")
        ax.imshow(heatmap, extent=extent, alpha=0.6, cmap="cividis", vmin=0)
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
