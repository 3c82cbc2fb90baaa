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
    """Return the curve of the first net of a method, with its interval over the images."""
    rng, first = torch.Generator().manual_seed(0), nets[0]
    return bootstrap_pck(first.errors()[images], GRID, first.visible[images], generator=rng)


def write_curves(nets: Mapping[str, list[Predictions]], path: Path) -> None:
    """Write the mean curves over nets as CSV: method, group, millimetres, pck."""
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
    """Return the images of a group that have visible joints, sorted by error, best first."""
    errors, visible = predictions.errors(), predictions.visible
    scored = occlusion_groups(visible)[group] & visible.any(dim=1)
    images = scored.nonzero().squeeze(1)
    means = [visible_mean(errors[i], visible[i]).item() for i in images.tolist()]
    return images[torch.tensor(means).argsort()]


def shown(net: Predictions, image: Tensor, i: int, title: str) -> Shown:
    """Return true and predicted joints of image ``i``, in 2D and in 3D."""
    joints = net.visible[i], net.true_uv[i], net.uv[i], net.true_xyz[i]
    return Shown(f"image {i}", *joints, {title: net.xyz[i]}, image)
