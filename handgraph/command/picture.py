"""A picture of one lifted hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from handgraph.plot import draw_pose, draw_pose_3d


def write_picture(path: Path, hand: Mapping[str, NDArray[Any]]) -> None:
    """Draw the 2D joints, and the hand from the camera, from the right and in space.

    Joints that were missing are hollow.
    """
    uv, pose = torch.from_numpy(hand["uv"]), torch.from_numpy(hand["pose"])
    there = ~torch.from_numpy(hand["missing"])
    figure = Figure(figsize=(14, 4), layout="constrained")
    flat = {"detected": uv, "from the camera": pose[:, :2], "from the right": pose[:, [2, 1]]}
    for place, (title, points) in enumerate(flat.items(), start=1):
        ax = draw_pose(points, visible=there, ax=figure.add_subplot(1, 4, place))
        ax.set_title(title)
        if place > 1:
            ax.set(xlabel="xz"[place - 2] + " (keybones)", ylabel="y (keybones)")
    space = figure.add_subplot(1, 4, 4, projection="3d")
    draw_pose_3d(pose, visible=there, unit="keybones", ax=space).set_title("in space")
    figure.suptitle(f"{hand['name']}, {hand['side']} hand", parse_math=False)
    figure.savefig(path, dpi=100)
