"""Lay out rendered hands on one sheet; below each row are the same hands with their joints.

Filled circles are visible joints, crosses are hidden ones.

    python docs/contact_sheet.py --out rendered_hands.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from handgraph import HAND
from handgraph.datasets import SyntheticHands


def contact_sheet(dataset: SyntheticHands, columns: int) -> Figure:
    """Draw each row of images twice, the second time with the joints."""
    image, size = dataset.render(slice(None))["image"], dataset.settings.image_size
    rows = image.view(-1, columns, 3, size, size).repeat_interleave(2, dim=0)
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(len(rows) * size, columns * size, 3)
    figure = Figure(figsize=(sheet.shape[1] / 100, sheet.shape[0] / 100), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow((sheet // 4 * 4).numpy(), interpolation="nearest")  # 64 levels keep the file small
    ax.set_axis_off()
    joints = zip(dataset.tensors["uv_true"], dataset.tensors["visible"], strict=True)
    for k, (uv, visible) in enumerate(joints):
        uv = uv + torch.tensor([k % columns, 2 * (k // columns) + 1]) * size
        ax.plot(*uv[HAND.bones].unbind(-1), color="white", linewidth=0.9, alpha=0.8)
        for shown, marker, color in ((visible, "o", "#0072B2"), (~visible, "x", "#D55E00")):
            ax.scatter(*uv[shown].T, s=9, marker=marker, color=color, linewidths=1.0, zorder=3)
    ax.set(xlim=(-0.5, sheet.shape[1] - 0.5), ylim=(sheet.shape[0] - 0.5, -0.5))
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2, help="each is shown twice")
    parser.add_argument("--columns", type=int, default=7)
    parser.add_argument("--size", type=int, default=128, help="side of an image in pixels")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("rendered_hands.png"))
    args = parser.parse_args()
    dataset = SyntheticHands(args.rows * args.columns, seed=args.seed, image_size=args.size)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(dataset, args.columns).savefig(args.out, pil_kwargs={"optimize": True})
    print(f"{len(dataset)} hands in {args.out}")
