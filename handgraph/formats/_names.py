"""Matching of hand joints by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from handgraph.formats.keypoints import Side
from handgraph.skeletons import HAND

SIDES: tuple[Side | None, ...] = (None, "left", "right")
"""Prefixes of names; without a prefix, the file states the side elsewhere."""

FROM_BASE = ("mcp", "pip", "dip", "tip")
"""Joints of the numbers 1 to 4 if fingers are numbered from the palm."""

FROM_TIP = FROM_BASE[::-1]
"""Joints of the numbers 1 to 4 in mmpose's RHD."""

_FINGERS = {
    "thumb": "thumb",
    "forefinger": "index",
    "index": "index",
    "index_finger": "index",
    "middle": "middle",
    "middle_finger": "middle",
    "ring": "ring",
    "ring_finger": "ring",
    "pinky": "pinky",
    "pinky_finger": "pinky",
    "little": "pinky",
    "little_finger": "pinky",
}
_ROOTS = ("hand_root", "hand_wrist")
_ANATOMY = {"thumb_cmc": "thumb_mcp", "thumb_mcp": "thumb_pip", "thumb_ip": "thumb_dip"}
_NAME = re.compile(r"(.+?)_?([1-4]|cmc|mcp|pip|ip|dip|tip)")


class Order(NamedTuple):
    """Number of joints of a record, and the indices of each hand's joints."""

    length: int
    hands: dict[Side | None, list[int]]


WHOLE_BODY = Order(133, {"left": list(range(91, 112)), "right": list(range(112, 133))})
"""COCO-WholeBody: 91 joints of body, feet and face, followed by the hands."""


def find_hands(names: Sequence[str], where: str, levels: Sequence[str] = FROM_BASE) -> Order:
    """Return the indices of the joints of :data:`handgraph.HAND` in ``names``, for each hand.

    Valid names are those of ``HAND``, its aliases, anatomical names (``thumb_cmc``, ``thumb_mcp``,
    ``thumb_ip``), and those of MediaPipe and mmpose (``forefinger1``), in upper or lower case, with
    or without a side as prefix.

    Args:
        names: Names in the order of the file.
        where: Name of the file, for error messages.
        levels: Joints that the numbers 1 to 4 stand for.

    Raises:
        ValueError: If a joint occurs twice, or no hand is complete.
    """
    plain = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names]
    places = {side: _places(plain, side, levels, where) for side in SIDES}
    found = {
        side: [place[joint] for joint in HAND.joints]
        for side, place in places.items()
        if len(place) == HAND.num_joints
    }
    if not found:
        best = max(places.values(), key=len)
        lost = [joint for joint in HAND.joints if joint not in best]
        raise ValueError(
            f"{where}: expected the {HAND.num_joints} joints of a hand, {', '.join(lost)} not "
            f"found in {', '.join(names) or 'no names'}"
        )
    return Order(len(names), found)


def _places(
    names: Sequence[str], side: str | None, levels: Sequence[str], where: str
) -> dict[str, int]:
    """Return the index of each joint whose name starts with this side."""
    prefix = "" if side is None else f"{side}_"
    own = {i: name[len(prefix) :] for i, name in enumerate(names) if name.startswith(prefix)}
    if any(name in _ROOTS for name in own.values()):  # then "wrist" is the body's
        own = {i: name for i, name in own.items() if name != "wrist"}
    anatomy = any(name.endswith("thumb_cmc") for name in own.values())
    places: dict[str, int] = {}
    for i, name in own.items():
        joint = _joint(name.removeprefix("hand_") if name not in _ROOTS else name, levels)
        joint = _ANATOMY.get(joint, joint) if anatomy else HAND.aliases.get(joint, joint)
        if joint in HAND.joints:
            if joint in places:
                raise ValueError(f"{where}: two joints are {prefix}{joint}: {places[joint]}, {i}")
            places[joint] = i
    return places


def _joint(name: str, levels: Sequence[str]) -> str:
    """Return the name of a joint in ``HAND``; other names are unchanged."""
    if name in _ROOTS:
        return "wrist"
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _FINGERS:
        return name
    level = levels[int(match[2]) - 1] if match[2].isdigit() else match[2]
    return f"{_FINGERS[match[1]]}_{level}"
