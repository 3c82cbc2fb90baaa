"""Command-line arguments for files of keypoints."""

from __future__ import annotations

import argparse
from collections.abc import Sized
from pathlib import Path

from handgraph.formats import Keypoints, guess_format, read_keypoints
from handgraph.formats.read import FORMATS, load_keypoints
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND, INTERHAND, MANO, RHD

ORDERS = {skeleton.name: skeleton for skeleton in (HAND, RHD, MANO, INTERHAND)}
"""Named joint orders."""

OPTIONS = ("format", "side", "image_size", "mirrored_labels", "order")
"""Options of a detector's files: arguments of ``read_keypoints``."""


def add_options(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the arguments for files and their formats."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=files)
    parser.add_argument(
        "--format", choices=FORMATS, help="format of the files. Default: recognised"
    )
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


def read(source: object, args: argparse.Namespace) -> tuple[Keypoints, str]:
    """Read a file or its loaded content, and return its hands and format."""
    content = load_keypoints(source, args.format)
    options = {name: getattr(args, name) for name in OPTIONS}
    options["format"] = args.format or guess_format(content)
    options["order"] = None if args.order is None else _order(args.order)
    return read_keypoints(content, **options), options["format"]


def _order(text: str) -> Skeleton:
    """Return the joint order with this name, or with these comma-separated joint names."""
    return ORDERS.get(text) or Skeleton("--order", text.split(","), ())


def refuse_options(args: argparse.Namespace, path: Path) -> None:
    """Raise if an option of a detector's files is given for lifted hands."""
    for option in OPTIONS:
        if getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise ValueError(
                f"{path}: --{name} applies to files of a detector, but this file has lifted hands"
            )


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def quiet(items: Sized) -> bool | None:
    """Return whether to disable a progress bar: for few items, or (``None``) without a terminal."""
    return True if len(items) < 5 else None
