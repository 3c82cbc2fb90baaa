"""``python -m handgraph draw``: draw files of keypoints or of lifted hands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from handgraph.command.lifted import Arrays, is_lifted, read_json, read_npz, split
from handgraph.command.read import add_options, count, quiet, read, refuse_options
from handgraph.formats._json import Loaded
from handgraph.formats.read import load_keypoints


def add_to(commands: Any) -> None:  # noqa: ANN401 (the type is private in argparse)
    """Add the command to a parser."""
    parser = commands.add_parser("draw", help="draw files of keypoints or of lift")
    add_options(parser, "file of keypoints; hands.json or hands.npz of lift")
    parser.add_argument("--out", type=Path, default=Path("runs/drawn"), metavar="DIR")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read files, and draw each hand."""
    from handgraph.command.picture import write_pictures  # needs the extra plot

    hands = []
    for path in tqdm(args.files, "read", unit="file", disable=quiet(args.files)):
        arrays, form = _hands(path, args)
        tqdm.write(f"{path}: {form}, {count(len(arrays['uv']), 'hand')}")
        hands += split(arrays)
    write_pictures(args.out, dict(enumerate(hands)))
    print(f"wrote {count(len(hands), 'picture')} to {args.out}")


def _hands(path: Path, args: argparse.Namespace) -> tuple[Arrays, str]:
    """Read a file of either kind, and return its hands and format."""
    if path.suffix == ".npz":
        refuse_options(args, path)
        return read_npz(path), "lifted"
    file = load_keypoints(path, args.format)
    if isinstance(file, Loaded) and is_lifted(file.content):
        refuse_options(args, path)
        return read_json(file.content, file.name), "lifted"
    hands, form = read(file, args)
    sides = [own or "" for own in hands.side]
    names = {"side": np.array(sides, str), "name": np.array(hands.name, str)}
    return {"uv": hands.uv.numpy(), "missing": hands.missing.numpy()} | names, form
