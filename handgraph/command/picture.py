"""Pictures of 2D joints and lifted hands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from handgraph.command.read import quiet
from handgraph.plot import draw_pose, draw_pose_3d
from handgraph.skeletons import HAND

Hand = Mapping[str, NDArray[Any]]
"""Entries of one hand: uv, missing, side and name, and pose if it is lifted."""


def write_pictures(folder: Path, hands: Mapping[int, Hand]) -> None:
    """Write a picture of each hand, named by its index."""
    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(hands.items(), "pictures", unit="hand", disable=quiet(hands))
    for number, hand in bar:
        write_picture(folder / f"hand_{number:04d}.png", hand)


def write_picture(path: Path, hand: Hand) -> None:
    """Draw the 2D joints and, if the pose is finite, two side views and a 3D view of the hand.

    Missing joints are listed below the 2D joints, and drawn hollow in the pose.
    """
    uv, detected = torch.from_numpy(hand["uv"]), ~torch.from_numpy(hand["missing"])
    pose = torch.from_numpy(hand["pose"]) if "pose" in hand else torch.tensor(torch.nan)
    lifted = bool(pose.isfinite().all())
    figure = Figure(figsize=(14 if lifted else 5, 4), layout="constrained")
    ax = draw_pose(uv, visible=detected, ax=figure.add_subplot(1, 4 if lifted else 1, 1))
    ax.set_title("detected")
    missing = [name for name, found in zip(HAND.joints, detected, strict=True) if not found]
    if missing:
        ax.set_xlabel("u (pixels)\n" + fill(f"missing: {', '.join(missing)}", 40))
    if lifted:
        _draw_lifted(figure, pose, detected)
    side = f", {hand['side']} hand" if hand["side"] else ""
    figure.suptitle(f"{hand['name']}{side}", parse_math=False)
    figure.savefig(path, dpi=100)


def _draw_lifted(figure: Figure, pose: Tensor, detected: Tensor) -> None:
    """Draw the pose in the last three of four columns."""
    flat = {"from the camera": pose[:, :2], "from the right": pose[:, [2, 1]]}
    for place, (title, points) in enumerate(flat.items(), start=2):
        ax = draw_pose(points, visible=detected, ax=figure.add_subplot(1, 4, place))
        ax.set(title=title, xlabel="xz"[place - 2] + " (keybones)", ylabel="y (keybones)")
    space = figure.add_subplot(1, 4, 4, projection="3d")
    draw_pose_3d(pose, visible=detected, unit="keybones", ax=space).set_title("in space")
