"""Estimate the 3D hands in a photo with the pretrained lifter.

    python examples/photo.py hand.jpg                           # MediaPipe finds the joints
    python examples/photo.py hand.jpg --landmarks hand.json     # the joints are in a file
    python examples/photo.py                                    # a rendered hand, joints in a file

MediaPipe 0.10.21 has a detector that needs no download (``pip install mediapipe==0.10.21``). A file
of landmarks may have any format that ``handgraph.formats.read_keypoints`` reads. The script writes
a picture, and the joints in metres as JSON. The length of the keybone (middle MCP to PIP) and the
focal length are assumed. The depth of the wrist is fitted, so that a hand of this size covers the
detected joints.
"""

import argparse
import json
from pathlib import Path

from torch import Tensor

from handgraph import HAND
from handgraph.formats import Keypoints, guess_format, read_keypoints
from handgraph.hub import KeypointLifter, fit_root_depth, pretrained_lifter, to_camera
from handgraph.vision import read_image
from shared.lifters import camera, name_joints
from shared.pictures import Hand, save_overlay

DEMO = Path(__file__).parent / "images"  # a rendered hand, and MediaPipe's landmarks of it
FOCAL = 0.72  # of a phone's main camera (26 mm on a film 36 mm wide), over the longer side


def main() -> None:
    """Find the joints, lift them, and write the hands."""
    args = parse()
    image = read_image(args.photo)
    K = camera(args.focal or FOCAL * max(image.shape[1:]), image)
    found, lifter = read(args, image), pretrained_lifter()
    hands = [lift(lifter, found, i, K, args) for i in range(len(found))]
    args.out.mkdir(parents=True, exist_ok=True)
    save_overlay(image, hands, args.out / f"{args.photo.stem}.png", "m")
    units = "xyz in metres, camera frame (x right, y down, z forward); uv in pixels"
    content = {"units": units, "hands": [describe(hand) for hand in hands]}
    path = args.out / f"{args.photo.stem}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for hand in hands:
        print(f"{hand.side} hand, {hand.xyz[HAND.index('wrist'), 2]:.2f} m away")
    print(f"hands of {args.photo}: {len(hands)} -> {args.out}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path, nargs="?", help="an image file")
    parser.add_argument("--landmarks", type=Path, help="a detector's file for this photo")
    parser.add_argument("--side", choices=("left", "right"), help="side of all hands in the photo")
    parser.add_argument("--keybone", type=float, default=0.047, help="in metres (default: 0.047)")
    parser.add_argument("--focal", type=float, help="in pixels (default: that of a phone)")
    parser.add_argument("--out", type=Path, default=Path("runs/photo"))
    args = parser.parse_args()
    if args.photo is None:
        if args.landmarks is not None:
            parser.error("--landmarks needs the photo that the joints were detected in")
        args.photo, args.landmarks = DEMO / "hand.jpg", DEMO / "hand.json"
    return args


def read(args: argparse.Namespace, image: Tensor) -> Keypoints:
    """Read the joints from the file of landmarks, or detect them in the photo."""
    height, width = image.shape[1:]
    source = args.landmarks or detect(image)
    form = guess_format(source)
    size = (width, height) if form == "mediapipe" else None
    return read_keypoints(source, form, side=args.side, image_size=size)


def detect(image: Tensor) -> object:
    """Return the result of MediaPipe's legacy API."""
    try:
        from mediapipe import solutions
    except ImportError as error:
        raise SystemExit(
            f"MediaPipe's legacy API is not installed ({error}): pip install mediapipe==0.10.21, "
            "or give --landmarks"
        ) from error
    with solutions.hands.Hands(static_image_mode=True) as hands:
        return hands.process(image.permute(1, 2, 0).contiguous().numpy())


def lift(
    lifter: KeypointLifter, hands: Keypoints, i: int, K: Tensor, args: argparse.Namespace
) -> Hand:
    """Lift one hand, and transform it to the camera frame."""
    side = hands.side[i]
    if side is None:
        raise SystemExit(f"{args.landmarks} has no side of the hand: expected --side")
    uv, score, depth = (x if x is None else x[i] for x in (hands.uv, hands.score, hands.depth))
    found = lifter.estimate(uv, score, depth=depth, side=side)
    distance = fit_root_depth(found.pose, uv, K, keybone=args.keybone)
    xyz = to_camera(found.pose, uv, K, keybone=args.keybone, root_depth=distance)
    return Hand(side, uv, xyz, found.missing)


def describe(hand: Hand) -> dict[str, object]:
    """Return side, joints by name, pixels of detected joints, and names of missing joints."""
    missing = [HAND.joints[i] for i in hand.missing.nonzero().flatten().tolist()]
    found = {joint: uv for joint, uv in name_joints(hand.uv).items() if joint not in missing}
    return {"side": hand.side, "xyz": name_joints(hand.xyz), "uv": found, "missing": missing}


if __name__ == "__main__":
    main()
