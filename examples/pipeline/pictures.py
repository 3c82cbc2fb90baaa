"""Curves of an evaluation, and pictures of its median and worst images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from handgraph import HAND
from handgraph.metrics import Interval, bootstrap_pck, occlusion_groups, pck_curve, visible_mean
from handgraph.plot import draw_image, draw_poses
from pipeline.scores import GROUPS, Predictions
from shared.pictures import GRID


def curves(nets: Mapping[str, list[Predictions]], images: Tensor) -> dict[str, Interval]:
    """The curves of the first net of each method, with intervals over the images."""
    rng, first = torch.Generator().manual_seed(0), {title: some[0] for title, some in nets.items()}
    return {
        title: bootstrap_pck(net.errors()[images], GRID, net.visible[images], generator=rng)
        for title, net in first.items()
    }


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
