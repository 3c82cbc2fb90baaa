"""Read a file of keypoints whose format is said, or known from its fields."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
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
    for option in ("image_size", "mirrored_labels"):
        if getattr(args, option) is not None:
            flag = option.replace("_", "-")
            raise ValueError(f"{name}: --{flag} is for MediaPipe, the file's format is {form}")
    readers = {"openpose": read_openpose, "coco": read_coco, "mmpose": read_mmpose}
    return readers[form](path), form


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
