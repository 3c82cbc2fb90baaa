"""Estimate the 3D hand in any image: ``python examples/predict.py --run runs/psjnet hand.jpg``.

For each image a folder gets its heatmaps, an overlay with the hand in space, and the joints as
JSON. One image does not tell how large a hand is or how far away: joints are (u, v) in pixels, and
depth is relative to the wrist, in keybone lengths. ``--scale``, ``--root-depth`` and ``--focal``
together give metres too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from handgraph import HAND
from handgraph.geometry import (
    crop_matrix,
    denormalize_uv,
    transform_points,
    uvd_to_camera,
    warp_image,
)
from images.read import read_image
from pipeline.pictures import save_heatmaps, save_overlay
from pipeline.store import load_run


def main() -> None:
    """Estimate the hand in each image."""
    args = parse()
    settings, model = load_run(args.run)
    for path in args.images:
        image = read_image(path)
        if args.left:
            image = image.flip(-1)
        to_crop = crop_matrix(box_corners(args.box, image, mirrored=args.left), settings.image_size)
        crop = warp_image(image, to_crop, settings.image_size)
        with torch.no_grad():
            found = model.detect(crop[None])
            pose = model.lifter(found)[0][0]
        uv = denormalize_uv(pose[:, :2], settings.image_size)
        out = args.out / path.stem
        out.mkdir(parents=True, exist_ok=True)
        detected = denormalize_uv(found.uv[0], settings.image_size)
        save_heatmaps(crop, found.heatmaps[0], detected, out / "heatmaps.png")
        save_overlay(crop, uv, pose[:, 2], out / "overlay.png")
        peaks = found.heatmaps[0].amax(dim=(-2, -1))
        joints = describe(uv, pose[:, 2], to_crop, image, args) | {"peak": name_joints(peaks)}
        (out / "joints.json").write_text(json.dumps(joints, indent=1) + "\n", encoding="utf-8")
        print(f"{path} -> {out}: {joints['note']}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--run", type=Path, required=True, help="folder that train.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/predictions"))
    parser.add_argument("--box", type=float, nargs=4, metavar=("U0", "V0", "U1", "V1"),
                        help="around the hand, in pixels; the whole image by default")  # fmt: skip
    parser.add_argument("--left", action="store_true", help="a left hand: it is mirrored")
    parser.add_argument("--scale", type=float, help="keybone (middle MCP to PIP) in metres")
    parser.add_argument("--root-depth", type=float, help="depth of the wrist in metres")
    parser.add_argument("--focal", type=float, help="in pixels; the image's middle is the centre")
    args = parser.parse_args()
    known = [x is not None for x in (args.scale, args.root_depth, args.focal)]
    if any(known) and not all(known):
        parser.error("--scale, --root-depth and --focal go together: metres need all three")
    return args


def box_corners(box: list[float] | None, image: Tensor, *, mirrored: bool) -> Tensor:
    """Corners of what is cropped, ``[2, 2]``; the crop adds a quarter to their square."""
    height, width = image.shape[-2:]
    if box is None:  # the largest square in the middle, less what the crop adds
        middle, half = torch.tensor([width - 1, height - 1]) / 2, min(height, width) / 2 / 1.25
        return torch.stack([middle - half, middle + half])
    corners = torch.tensor(box).view(2, 2)
    inside = corners[0].clamp(min=0) < corners[1].minimum(torch.tensor([width, height]))
    if not inside.all():
        raise ValueError(
            f"--box: expected U0 < U1 and V0 < V1, in part in an image of {width} x {height}, got "
            + " ".join(f"{x:g}" for x in box)
        )
    if mirrored:
        corners[:, 0] = (width - 1 - corners[:, 0]).flip(0)
    return corners


def describe(
    uv: Tensor, d: Tensor, to_crop: Tensor, image: Tensor, args: argparse.Namespace
) -> dict[str, object]:
    """The joints by name; pixels are those of the image, as it was given."""
    height, width = image.shape[-2:]
    uv = transform_points(torch.linalg.inv(to_crop), uv)
    note = "depth is relative to the wrist, in keybone lengths; no scale is known"
    joints: dict[str, object] = {}
    if args.scale is not None:
        K = torch.diag(torch.tensor([args.focal, args.focal, 1.0]))
        K[:2, 2] = torch.tensor([width - 1, height - 1]) / 2
        known = torch.tensor(args.scale), torch.tensor(args.root_depth)
        xyz = uvd_to_camera(torch.cat([uv, d[:, None]], dim=-1), K, *known)
        joints["xyz"] = name_joints(xyz * torch.tensor([-1.0 if args.left else 1.0, 1, 1]))
        note = "xyz in metres, camera frame: x right, y down, z forward; by the given scale"
    if args.left:
        uv = torch.stack([width - 1 - uv[:, 0], uv[:, 1]], dim=-1)
    return {"note": note, "uv": name_joints(uv), "d": name_joints(d), **joints}


def name_joints(values: Tensor) -> dict[str, object]:
    """Values by the names of the joints."""
    return dict(zip(HAND.joints, values.double().round(decimals=4).tolist(), strict=True))


if __name__ == "__main__":
    main()
