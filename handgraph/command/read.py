"""Reading of keypoint files whose format is given or detected from their fields."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple

from handgraph.formats import (
    Keypoints,
    read_coco,
    read_h3wb,
    read_mediapipe,
    read_mmpose,
    read_openpose,
)
from handgraph.formats._json import load
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND, INTERHAND, MANO, RHD


class Format(NamedTuple):
    """A file format.

    Args:
        read: Reader of the format.
        fields: Sets of fields; a file that has all fields of one set has this format.
        options: Command-line options that the reader accepts.
    """

    read: Callable[..., Keypoints]
    fields: tuple[set[str], ...]
    options: tuple[str, ...] = ()


FORMATS = {
    "mediapipe": Format(
        read_mediapipe,
        ({"multi_hand_landmarks"}, {"multiHandLandmarks"}, {"hand_landmarks"},
         {"landmarks", "handedness"}, {"landmarks", "handednesses"}),
        ("image_size", "mirrored_labels"),
    ),
    "openpose": Format(read_openpose, ({"people"},)),
    "coco": Format(read_coco, ({"images", "annotations"},), ("order",)),
    "mmpose": Format(
        read_mmpose,
        ({"predictions"}, {"instance_info"}, {"instances", "frame_id"},
         {"keypoints", "keypoint_scores"}),
        ("order",),
    ),
    "h3wb": Format(read_h3wb, ({"keypoints_2d"}, {"keypoints_3d", "image_path"})),
}  # fmt: skip
"""Formats by name."""

OPTIONS = ("image_size", "mirrored_labels", "order")
"""Options of some formats only."""

ORDERS = {skeleton.name: skeleton for skeleton in (HAND, RHD, MANO, INTERHAND)}
"""Named joint orders."""


def add_options(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the arguments for files and their formats."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=files)
    parser.add_argument("--format", choices=FORMATS, help="format of the files. Default: detected")
    parser.add_argument("--side", choices=("left", "right"), help="side of all hands")
    parser.add_argument(
        "--image-size", type=float, nargs=2, metavar=("W", "H"), help="MediaPipe: size in pixels"
    )
    parser.add_argument(
        "--mirrored-labels",
        action=argparse.BooleanOptionalAction,
        help="MediaPipe: whether labels refer to the mirrored image",
    )
    parser.add_argument(
        "--order",
        metavar="NAME",
        help=f"mmpose, COCO: joint order, if the file has no names: "
        f"{', '.join(ORDERS)}, or names separated by commas",
    )


def read(path: Path, args: argparse.Namespace) -> tuple[Keypoints, str]:
    """Read a file, and return its hands and format."""
    content, name = load(path, "")
    form = args.format or guess(content, name)
    return FORMATS[form].read(path, **_arguments(args, form, name)), form


def _arguments(args: argparse.Namespace, form: str, name: str) -> dict[str, Any]:
    """Return the arguments of the reader."""
    own = FORMATS[form].options
    for option in (option for option in OPTIONS if option not in own):
        forms = [key for key, other in FORMATS.items() if option in other.options]
        why = f"is for {' and '.join(forms)}, but the file's format is {form}"
        refuse(args, [option], name, why)
    given = {key: value for key in own if (value := getattr(args, key)) is not None}
    if form == "mediapipe":
        if "image_size" not in given:
            raise ValueError(f"{name}: MediaPipe's coordinates are relative: expected --image-size")
        if args.side is not None:  # the labels are ignored
            given["mirrored_labels"] = False
    if "order" in given:
        given["order"] = _order(given["order"])
    return given


def _order(text: str) -> Skeleton:
    """Return the joint order with this name, or with these comma-separated joint names."""
    return ORDERS.get(text) or Skeleton("--order", text.split(","), ())


def refuse(args: argparse.Namespace, options: Iterable[str], name: str, why: str) -> None:
    """Raise if an option is given that does not apply to a file."""
    for option in options:
        if getattr(args, option) is not None:
            raise ValueError(f"{name}: --{option.replace('_', '-')} {why}")


def guess(content: object, name: str) -> str:
    """Return the format that matches the fields of the file."""
    keys = _fields(content)
    found = [form for form, known in FORMATS.items() if any(one <= keys for one in known.fields)]
    if len(found) != 1:
        raise ValueError(
            f"{name}: expected fields of one format, got those of {' and '.join(found) or 'none'}: "
            f"pass --format {', '.join(FORMATS)}"
        )
    return found[0]


def _fields(content: Any) -> set[str]:  # noqa: ANN401 (any JSON value)
    """Return the fields of the first record, and of its first sample for a table of samples."""
    while isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, Mapping):
        return set()
    first = next(iter(content.values()), None)
    return set(content) | (set(first) if isinstance(first, Mapping) else set())


def quiet(items: Sized) -> bool | None:
    """Return whether to disable a progress bar: for few items, or (``None``) without a terminal."""
    return True if len(items) < 5 else None
