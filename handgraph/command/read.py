"""Read a file of keypoints whose format is said, or known from its fields."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path

from handgraph.formats import (
    Keypoints,
    read_coco,
    read_mediapipe,
    read_mmpose,
    read_openpose,
)
from handgraph.formats._json import load

FORMATS = ("mediapipe", "openpose", "coco", "mmpose")
"""The formats that the command reads."""

_FIELDS = {
    "mediapipe": ({"multi_hand_landmarks"}, {"multiHandLandmarks"}, {"hand_landmarks"},
                  {"landmarks", "handedness"}, {"landmarks", "handednesses"}),
    "openpose": ({"people"},),
    "coco": ({"images", "annotations"},),
    "mmpose": ({"predictions"}, {"instance_info"}, {"instances", "frame_id"},
               {"keypoints", "keypoint_scores"}),
}  # fmt: skip
"""Fields that only one format has, any of the sets."""


def add_options(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the files, and how to read those of a detector."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=files)
    parser.add_argument(
        "--format", choices=FORMATS, help="of the files, if their fields do not say"
    )
    parser.add_argument("--side", choices=("left", "right"), help="which hand all images show")
    parser.add_argument(
        "--image-size", type=float, nargs=2, metavar=("W", "H"), help="MediaPipe: in pixels"
    )
    parser.add_argument(
        "--mirrored-labels",
        action=argparse.BooleanOptionalAction,
        help="MediaPipe: whether labels name the hand of the mirror image",
    )


def read(path: Path, args: argparse.Namespace) -> tuple[Keypoints, str]:
    """Read a file, and say in which format it is."""
    content, name = load(path, "")
    form = args.format or guess(content, name)
    if form == "mediapipe":
        if args.image_size is None:
            raise ValueError(f"{name}: MediaPipe gives shares of the image: expected --image-size")
        mirrored = args.mirrored_labels
        if args.side is not None:  # then labels do not count
            mirrored = False
        return read_mediapipe(path, args.image_size, mirrored_labels=mirrored), form
    refuse(
        args,
        ("image_size", "mirrored_labels"),
        name,
        f"is for MediaPipe, the file's format is {form}",
    )
    readers = {"openpose": read_openpose, "coco": read_coco, "mmpose": read_mmpose}
    return readers[form](path), form


def refuse(args: argparse.Namespace, options: Sequence[str], name: str, why: str) -> None:
    """Raise if an option is given that does not apply to a file."""
    for option in options:
        if getattr(args, option) is not None:
            raise ValueError(f"{name}: --{option.replace('_', '-')} {why}")


def guess(content: object, name: str) -> str:
    """The only format that has the fields of the file."""
    first = content
    while isinstance(first, list) and first:
        first = first[0]
    keys = set(first) if isinstance(first, Mapping) else set()
    found = [form for form, sets in _FIELDS.items() if any(fields <= keys for fields in sets)]
    if len(found) != 1:
        raise ValueError(
            f"{name}: expected fields of one format, got those of {' and '.join(found) or 'none'}: "
            f"say --format {', '.join(FORMATS)}"
        )
    return found[0]


def quiet(items: Sized) -> bool | None:
    """Whether a progress bar is disabled: for a few items, and (``None``) without a terminal."""
    return True if len(items) < 5 else None
