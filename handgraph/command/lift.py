"""``python -m handgraph lift``: from files of keypoints to 3D hands, as JSON, npz and pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from handgraph.command.read import FORMATS, ORDERS, read
from handgraph.formats import Keypoints
from handgraph.skeletons import HAND

Arrays = dict[str, NDArray[Any]]
"""Entries of all hands, the first dimension of each."""


def add_to(commands: Any) -> None:  # noqa: ANN401 (argparse does not name the type)
    """Add the command to a parser."""
    parser = commands.add_parser("lift", help="make 3D hands from files of 2D joints")
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help=f"JSON: {', '.join(FORMATS)}"
    )
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
    parser.add_argument(
        "--order",
        metavar="NAME",
        help=f"mmpose, COCO: which joint is which, if the names in the file do not say: "
        f"{', '.join(ORDERS)}, or names separated by commas",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/lifted"), metavar="DIR")
    parser.add_argument("--pictures", type=int, default=10, metavar="N", help="at most N pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read, lift, and write."""
    if args.pictures > 0:
        from handgraph.command.picture import write_picture  # needs the extra plot
    parts = []
    for path in tqdm(args.files, "read and lift", unit="file", disable=_quiet(args.files)):
        hands, form = read(path, args)
        all_one = f", all {args.side}" if args.side else ""
        tqdm.write(f"{path}: {form}, {len(hands)} hands{all_one}")
        parts.append(lift(hands, args.side, str(path)))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    args.out.mkdir(parents=True, exist_ok=True)
    archive: dict[str, Any] = {"joints": np.array(HAND.joints), **arrays}
    np.savez(args.out / "hands.npz", **archive)
    _write_json(args.out / "hands.json", arrays)
    known = np.isfinite(arrays["pose"]).all(axis=(1, 2)).nonzero()[0]
    if lost := len(arrays["pose"]) - len(known):
        print(f"{lost} hands have fewer than 3 joints: their poses are NaN")
    shown = known[: max(args.pictures, 0)].tolist()
    for i in tqdm(shown, "pictures", unit="hand", disable=_quiet(shown)):
        hand = {name: values[i] for name, values in arrays.items()}
        write_picture(args.out / f"hand_{i:04d}.png", hand)
    print(f"wrote hands.json, hands.npz and {len(shown)} pictures to {args.out}")


def lift(hands: Keypoints, side: str | None, source: str) -> Arrays:
    """Lift all hands of a file, right and left ones apart."""
    from handgraph.hub import pretrained_lifter  # needs the extra hub

    sides = [side or own for own in hands.side]
    if None in sides:
        raise ValueError(
            f"{source}: {hands.name[sides.index(None)]}: the file does not say which hand it is: "
            "expected --side left or --side right"
        )
    lifter = pretrained_lifter()
    found = {name: torch.empty(len(hands), HAND.num_joints) for name in ("error", "visible")}
    found["pose"] = torch.empty(len(hands), HAND.num_joints, 3)
    found["missing"] = torch.empty(len(hands), HAND.num_joints, dtype=torch.bool)
    for one in ("left", "right"):
        mine = torch.tensor([s == one for s in sides], dtype=torch.bool)
        score, depth = (x if x is None else x[mine] for x in (hands.score, hands.depth))
        estimate = lifter.estimate(hands.uv[mine], score, depth=depth, side=one)
        for name, values in estimate._asdict().items():
            found[name][mine] = values
    arrays: Arrays = {name: values.numpy() for name, values in found.items()}
    names = {"side": sides, "name": list(hands.name)}
    return arrays | {"uv": hands.uv.numpy()} | {k: np.array(v, str) for k, v in names.items()}


def _write_json(path: Path, arrays: Arrays) -> None:
    """One record for each hand; null where a number is unknown."""
    from handgraph.hub.keypoints import UNITS

    hands = [
        {name: _plain(values[i]) for name, values in arrays.items()}
        for i in range(len(arrays["pose"]))
    ]
    units = {name: UNITS[name] for name in ("output", "frame")}
    content = {"joints": list(HAND.joints), "units": units, "hands": hands}
    path.write_text(json.dumps(content, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def _plain(values: NDArray[Any]) -> object:
    """Lists for JSON, which has no NaN."""
    if values.dtype.kind != "f":
        return values.tolist()
    known = values.astype(object)
    known[np.isnan(values)] = None
    return known.tolist()


def _quiet(items: list[Any]) -> bool | None:
    """No progress bar for a few; for many, one if there is a terminal."""
    return True if len(items) < 5 else None
