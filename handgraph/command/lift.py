"""``python -m handgraph lift``: lift files of keypoints to 3D hands (JSON, npz and pictures)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from handgraph._check import check_count
from handgraph.command.lifted import Arrays, split, write
from handgraph.command.read import add_options, count, quiet, read
from handgraph.formats import Keypoints
from handgraph.skeletons import HAND


def add_to(commands: Any) -> None:  # noqa: ANN401 (the type is private in argparse)
    """Add the command to a parser."""
    parser = commands.add_parser("lift", help="lift files of keypoints to 3D hands")
    add_options(parser, "file of keypoints")
    parser.add_argument("--out", type=Path, default=Path("runs/lifted"), metavar="DIR")
    parser.add_argument(
        "--pictures", type=int, metavar="N", help="at most N pictures. Default: one for each hand"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read files, lift their hands, and write the results."""
    if args.pictures is not None:
        check_count(args.pictures, "--pictures", 0)
    if args.pictures != 0:
        from handgraph.command.picture import write_pictures  # needs the extra plot
    parts = []
    for path in tqdm(args.files, "read and lift", unit="file", disable=quiet(args.files)):
        hands, form = read(path, args)
        all_one = f", all {args.side}" if args.side else ""
        tqdm.write(f"{path}: {form}, {count(len(hands), 'hand')}{all_one}")
        parts.append(lift(hands, str(path)))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write(args.out, arrays)
    known = np.isfinite(arrays["pose"]).all(axis=(1, 2)).nonzero()[0]
    if lost := len(arrays["pose"]) - len(known):
        print(
            f"{count(lost, 'hand')} without a pose (NaN): fewer than 3 joints, or all in one place"
        )
    shown = known[: args.pictures].tolist()
    if shown:
        every = split(arrays)
        write_pictures(args.out, {i: every[i] for i in shown})
    print(f"wrote hands.json, hands.npz and {count(len(shown), 'picture')} to {args.out}")


def lift(hands: Keypoints, source: str) -> Arrays:
    """Lift all hands of a file, in one batch for each side."""
    from handgraph.hub import pretrained_lifter  # needs the extra hub

    if None in hands.side:
        raise ValueError(
            f"{source}: {hands.name[hands.side.index(None)]}: the file does not state the side: "
            "expected --side left or --side right"
        )
    lifter = pretrained_lifter()
    found = {name: torch.empty(len(hands), HAND.num_joints) for name in ("error", "visible")}
    found["pose"] = torch.empty(len(hands), HAND.num_joints, 3)
    found["missing"] = torch.empty(len(hands), HAND.num_joints, dtype=torch.bool)
    for one in ("left", "right"):
        mine = torch.tensor([side == one for side in hands.side], dtype=torch.bool)
        score, depth = (x if x is None else x[mine] for x in (hands.score, hands.depth))
        estimate = lifter.estimate(hands.uv[mine], score, depth=depth, side=one)
        for name, values in found.items():
            values[mine] = getattr(estimate, name)
    arrays: Arrays = {name: values.numpy() for name, values in found.items()}
    names = {"side": list(hands.side), "name": list(hands.name)}
    return arrays | {"uv": hands.uv.numpy()} | {k: np.array(v, str) for k, v in names.items()}
