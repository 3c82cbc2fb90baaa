"""Estimate the 3D hand in any image or video.

    python examples/predict.py --run runs/psjnet hand.jpg
    python examples/predict.py --run runs/psjnet --video hand.mp4
    python examples/predict.py --run runs/psjnet --webcam 0      # until Ctrl-C, or --frames

For each image, a folder contains the heatmaps, an overlay with the hand in 3D, and the joints as
JSON. For a video (extra ``video``), the output is a video and an npz of all frames. The crop
follows the hand, and a One-Euro filter smooths the joints.

One image does not determine the size and distance of a hand. Joints are (u, v) in pixels, and depth
is relative to the wrist, in keybone lengths. With ``--scale``, ``--root-depth`` and ``--focal``,
joints are also given in metres.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from handgraph import HAND, geometry
from handgraph.nn import fold
from handgraph.video import Pose, VideoWriter, draw_joints, follow, read_frames
from handgraph.vision import read_image
from pipeline.store import load_run
from psjnet import PoseNet
from shared.lifters import camera, name_joints
from shared.pictures import Hand, save_heatmaps, save_overlay


class Found(NamedTuple):
    """The crop of an image, and the estimates in it; positions are in pixels of the crop."""

    crop: Tensor
    heatmaps: Tensor
    detected: Tensor
    pose: Pose


Find = Callable[[Tensor, Tensor], Found]
"""Estimates the hand in an image, given the map from image to crop."""


def main() -> None:
    """Estimate the hand in each image, or in each frame."""
    args = parse()
    settings, model = load_run(args.run)
    find = partial(estimate, fold(model), size=settings.image_size, left=args.left)
    if args.images:
        for path, folder in zip(args.images, folders(args.images), strict=True):
            predict_image(find, settings.image_size, path, args.out / folder, args)
    else:
        predict_video(find, settings.image_size, args)


def predict_image(find: Find, size: int, path: Path, out: Path, args: argparse.Namespace) -> None:
    """Estimate the hand in an image, and write pictures and joints."""
    image = read_image(path)
    to_crop = geometry.crop_matrix(box_corners(args.box, image), size)
    found = find(image, to_crop)
    out.mkdir(parents=True, exist_ok=True)
    save_heatmaps(found.crop, found.heatmaps, found.detected, out / "heatmaps.png")
    hand = in_keybones(found.pose, "left" if args.left else "right")
    save_overlay(found.crop, [hand], out / "overlay.png", "keybones")
    joints = describe(found.pose, to_crop, image, args)
    (out / "joints.json").write_text(json.dumps(joints, indent=1) + "\n", encoding="utf-8")
    print(f"{path} -> {out}: {joints['note']}")


def predict_video(find: Find, size: int, args: argparse.Namespace) -> None:
    """Estimate the hand in each frame, and write a video and an npz."""
    source = args.webcam if args.video is None else args.video
    frames, first_box = islice(read_frames(source), args.frames), partial(box_corners, args.box)
    smooth = {"min_cutoff": args.min_cutoff, "beta": args.beta}
    hands = follow(frames, first_box, lambda *crop: find(*crop).pose, size=size, **smooth)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, start = [], perf_counter()
    stop = nullcontext() if args.webcam is None else suppress(KeyboardInterrupt)
    with VideoWriter(args.out / "hands.mp4") as video, stop:
        for seconds, image, pose in hands:
            video.write(seconds, draw_joints(image, pose.uv))
            rows.append(in_metres(pose, image, args) | {"seconds": torch.tensor(seconds)})
    if not rows:
        raise SystemExit(f"{source} has no frames")
    speed = len(rows) / (perf_counter() - start)
    arrays = {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0]}
    np.savez(args.out / "hands.npz", joints=np.array(HAND.joints), **arrays)
    print(f"{len(rows)} frames, {speed:.1f} a second -> {args.out}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--video", type=Path, help="a video file, in place of images")
    parser.add_argument("--webcam", type=int, help="number of a webcam, in place of images")
    parser.add_argument("--frames", type=int, help="number of frames; all by default")
    parser.add_argument("--min-cutoff", type=float, default=1.0, help="One-Euro filter, in Hz")
    parser.add_argument("--beta", type=float, default=0.02, help="in Hz per pixel per second")
    parser.add_argument("--run", type=Path, required=True, help="folder that train.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/predictions"))
    parser.add_argument("--box", type=float, nargs=4, metavar=("U0", "V0", "U1", "V1"),
                        help="around the hand, in pixels; the whole image by default")  # fmt: skip
    parser.add_argument("--left", action="store_true", help="a left hand: it is mirrored")
    parser.add_argument("--scale", type=float, help="keybone (middle MCP to PIP) in metres")
    parser.add_argument("--root-depth", type=float, help="depth of the wrist in metres")
    parser.add_argument("--focal", type=float, help="in pixels; the camera is centred in the image")
    args = parser.parse_args()
    known = [x is not None for x in (args.scale, args.root_depth, args.focal)]
    if any(known) and not all(known):
        parser.error("--scale, --root-depth and --focal go together: metres need all three")
    if (len(args.images) > 0) + (args.video is not None) + (args.webcam is not None) != 1:
        parser.error("expected images, --video or --webcam, one of them")
    return args


def folders(images: Sequence[Path]) -> list[Path]:
    """Return a folder for each image: its stem, with parents and suffix if stems are not unique.

    An image that is given twice has one folder.
    """
    files = [Path(os.path.abspath(path)) for path in images]
    common = os.path.commonpath([file.parent for file in files])
    inside = [file.relative_to(common) for file in files]
    for names in ([Path(file.stem) for file in inside], [file.with_suffix("") for file in inside]):
        if len(set(names)) == len(set(files)):
            return names
    return inside


def estimate(model: PoseNet, image: Tensor, to_crop: Tensor, size: int, *, left: bool) -> Found:
    """Estimate the hand in the crop of an image; a left hand is mirrored for the model."""
    crop = geometry.warp_image(image, to_crop, size)
    mirror = torch.tensor([-1.0 if left else 1.0, 1, 1])
    with torch.no_grad():
        found = model.detect((crop.flip(-1) if left else crop)[None])
        pose = mirror * model.lifter(found)[0][0]  # (u, v) in [-1, 1]
    heatmaps = found.heatmaps[0].flip(-1) if left else found.heatmaps[0]
    positions = mirror[:2] * found.uv[0], pose[:, :2]
    detected, uv = (geometry.denormalize_uv(x, size) for x in positions)
    return Found(crop, heatmaps, detected, Pose(uv, pose[:, 2], heatmaps.amax(dim=(-2, -1))))


def box_corners(box: list[float] | None, image: Tensor) -> Tensor:
    """Return the corners of the box, ``[2, 2]``; the crop's side is 1.25 times its longer side."""
    height, width = image.shape[-2:]
    if box is None:  # the crop is the largest square in the middle
        middle, half = torch.tensor([width - 1, height - 1]) / 2, min(height, width) / 2 / 1.25
        return torch.stack([middle - half, middle + half])
    corners = torch.tensor(box).view(2, 2)
    inside = corners[0].clamp(min=0) < corners[1].minimum(torch.tensor([width, height]))
    if not inside.all():
        raise ValueError(
            f"--box: expected U0 < U1 and V0 < V1, in part in an image of {width} x {height}, got "
            + " ".join(f"{x:g}" for x in box)
        )
    return corners


def describe(
    pose: Pose, to_crop: Tensor, image: Tensor, args: argparse.Namespace
) -> dict[str, object]:
    """Return the joints of a crop by name, in coordinates of the image."""
    uv = geometry.transform_points(torch.linalg.inv(to_crop), pose.uv)
    joints = in_metres(pose._replace(uv=uv), image, args)
    note = "depth is relative to the wrist, in keybone lengths; the scale is unknown"
    if "xyz" in joints:
        note = "xyz in metres, camera frame: x right, y down, z forward; from the given scale"
    return {"note": note} | {name: name_joints(values) for name, values in joints.items()}


def in_keybones(pose: Pose, side: str) -> Hand:
    """Return the hand in keybone lengths, with x and y in those of the keybone in the image."""
    bone = pose.uv[HAND.index("middle_pip")] - pose.uv[HAND.index("middle_mcp")]
    flat = (pose.uv - pose.uv[HAND.index("wrist")]) / bone.norm().clamp(min=1)
    missing = torch.zeros(len(flat), dtype=torch.bool)
    return Hand(side, pose.uv, torch.cat([flat, pose.d[:, None]], dim=-1), missing)


def in_metres(pose: Pose, image: Tensor, args: argparse.Namespace) -> dict[str, Tensor]:
    """Return joints of an image, also in metres if scale, root depth and focal length are known."""
    joints = {"uv": pose.uv, "d": pose.d, "peak": pose.score}
    if args.scale is not None:
        known = torch.tensor(args.scale), torch.tensor(args.root_depth)
        uvd = torch.cat([pose.uv, pose.d[:, None]], dim=-1)
        joints["xyz"] = geometry.uvd_to_camera(uvd, camera(args.focal, image), *known)
    return joints


if __name__ == "__main__":
    main()
