"""From 21 detected 2D joints to a 3D hand, by the lifter that comes with the package.

    python examples/lift_keypoints.py                       # a simulated hand
    python examples/lift_keypoints.py hand.json --side left

The file is JSON, {"wrist": [u, v], ...} or with [u, v, score], or a list of 21 such rows in the
order of HAND (which is MediaPipe's); or CSV with a header joint,u,v or joint,u,v,score; or npz with
uv [21, 2], and score [21] and joints [21] if there are any. Named joints may come in any order,
under the names of HAND or of MediaPipe. MediaPipe's coordinates are shares of width and height:
--image-size 640 480 makes them pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.geometry import view_rotation
from handgraph.hub import pretrained_lifter
from handgraph.plot import draw_pose, draw_pose_3d

ANATOMY = {"thumb_cmc": "thumb_mcp", "thumb_mcp": "thumb_pip", "thumb_ip": "thumb_dip"}
"""MediaPipe names the thumb as anatomy does, HAND as it does the fingers."""


def read(path: Path) -> Tensor:
    """Rows (u, v) or (u, v, score) in the order of HAND, ``[21, 2]`` or ``[21, 3]``."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *table = [row for row in csv.reader(file) if any(row)] or [[]]
        if header[:3] != ["joint", "u", "v"]:
            raise ValueError(f"{path}: expected a header joint,u,v, got {','.join(header)}")
        return in_order(
            [row[0] for row in table], [[float(x or "nan") for x in row[1:]] for row in table]
        )
    if path.suffix == ".npz":
        with np.load(path) as entries:
            columns = [entries["uv"], *([entries["score"][:, None]] if "score" in entries else [])]
            names = entries["joints"].tolist() if "joints" in entries else HAND.joints
            return in_order(names, np.concatenate(columns, axis=1).tolist())
    joints = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(joints, dict):
        return in_order(list(joints), list(joints.values()))
    return in_order(HAND.joints, joints)


def in_order(names: Sequence[str], rows: list[list[float]]) -> Tensor:
    """Sort rows into the order of HAND by the joints' names."""
    names = [name.lower().replace("_finger", "") for name in names]
    if "thumb_cmc" in names:
        names = [ANATOMY.get(name, name) for name in names]
    if sorted(names) != sorted(HAND.joints) or len(rows) != len(names):
        odd = set(names) ^ set(HAND.joints)
        raise ValueError(
            f"expected the {HAND.num_joints} joints of HAND, each once, got {len(rows)} rows; "
            f"missing or unknown: {', '.join(sorted(odd)) or 'none'}"
        )
    lengths = {len(row) for row in rows}
    if lengths not in ({2}, {3}):
        raise ValueError(f"expected u,v or u,v,score of each joint, got {sorted(lengths)} numbers")
    ordered = [rows[names.index(joint)] for joint in HAND.joints]
    numbers = [[math.nan if x is None else x for x in row] for row in ordered]
    return torch.tensor(numbers, dtype=torch.float32)


def picture(uv: Tensor, pose: Tensor) -> Figure:
    """The 2D joints, and the hand in space: as the camera sees it, from its right, and aslant."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    flat = {"detected": uv, "from the camera": pose[:, :2], "from the right": pose[:, [2, 1]]}
    for place, (title, points) in enumerate(flat.items(), start=1):
        ax = draw_pose(points, ax=figure.add_subplot(1, 4, place))
        ax.set_title(title)
        if place > 1:
            ax.set(xlabel="xz"[place - 2] + " (keybones)", ylabel="y (keybones)")
    ax = draw_pose_3d(pose, ax=figure.add_subplot(1, 4, 4, projection="3d"))
    ax.set(title="in space", xlabel="x", ylabel="z", zlabel="y")
    return figure


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("file", type=Path, nargs="?", help="json, csv or npz")
parser.add_argument("--side", choices=("right", "left"), default="right", help="which hand it is")
parser.add_argument("--image-size", type=float, nargs=2, default=(1.0, 1.0), metavar=("W", "H"))
parser.add_argument("--out", type=Path, default=Path("runs/lifted.png"))
args = parser.parse_args()
demo = SyntheticHands(1, seed=3, progress=False)[0]
joints = torch.cat([demo.uv, demo.confidence], dim=-1) if args.file is None else read(args.file)

# The five lines.
lifter = pretrained_lifter()
uv = joints[:, :2] * torch.tensor(args.image_size)
score = joints[:, 2] if joints.shape[1] == 3 else None
with torch.no_grad():
    pose = lifter(uv, score, side=args.side)  # [21, 3], relative to the wrist, in keybone lengths
inferred = lifter.missing(uv, score)  # joints that the detector did not find

args.out.parent.mkdir(parents=True, exist_ok=True)
picture(uv, pose).savefig(args.out, dpi=100)
print("joint             x      y      z   (keybone lengths: right, down, away from us)")
for name, (x, y, z), guess in zip(HAND.joints, pose.tolist(), inferred.tolist(), strict=True):
    print(f"{name:12s} {x:6.2f} {y:6.2f} {z:6.2f}" + (" inferred" if guess else ""))
if args.file is None:
    camera_axes = demo.s * pose @ view_rotation(uv, demo.K[0])  # metres, as the camera has them
    errors = (camera_axes - (demo.xyz - demo.xyz[0])).norm(dim=-1)
    print(f"mean error {1000 * errors.mean():.0f} mm, keybone length known")
print(f"saved {args.out}")
