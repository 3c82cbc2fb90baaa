"""Curves of an evaluation, and pictures of its median and worst images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from handgraph.metrics import Interval, bootstrap_pck, occlusion_groups, pck_curve, visible_mean
from pipeline.scores import GROUPS, Predictions
from shared.pictures import GRID, Shown


def curve(nets: list[Predictions], images: Tensor) -> Interval:
    """The curve of the first net of a method, with its interval over the images."""
    rng, first = torch.Generator().manual_seed(0), nets[0]
    return bootstrap_pck(first.errors()[images], GRID, first.visible[images], generator=rng)


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


def shown(net: Predictions, image: Tensor, i: int, title: str) -> Shown:
    """True and predicted joints over image ``i``, and both hands in space."""
    joints = net.visible[i], net.true_uv[i], net.uv[i], net.true_xyz[i]
    return Shown(f"image {i}", *joints, {title: net.xyz[i]}, image)
