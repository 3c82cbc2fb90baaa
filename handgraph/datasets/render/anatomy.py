"""Tables of the hand's surface: the balls, cones and wedges that cover the bones.

A ball's centre is a weighted mean of joints plus an offset in the palm's frame (x toward the
thumb's side, y toward the fingers, z out of the palm). Two balls span a cone, three a wedge.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from handgraph.skeletons import FINGERS, HAND

PERSON = "person"
"""The forearm's name among the bones."""

OBJECT = "object"
"""The object's name among the bones."""

BONES = (*(HAND.joints[child] for child in HAND.bones[1].tolist()), PERSON, OBJECT)
"""Labels of pixels: bones (named by their child joint), the forearm and the object."""


class Ball(NamedTuple):
    """A ball on the hand.

    Args:
        joints: Weights of joints, by name.
        radius: In millimetres, for a hand of mean size.
        offset: In millimetres, in the palm's frame.
        bone: Bone that its surface belongs to; None if cones and wedges cover it entirely.
    """

    joints: dict[str, float]
    radius: float
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bone: str | None = None


_FINGER_RADII = {  # base, middle joint, last joint, tip
    "thumb": (13.0, 11.0, 9.8, 7.6),
    "index": (11.2, 9.4, 8.2, 6.4),
    "middle": (11.2, 9.6, 8.4, 6.6),
    "ring": (10.8, 9.0, 7.9, 6.2),
    "pinky": (9.8, 7.9, 6.9, 5.5),
}
_LEVELS = ("mcp", "pip", "dip", "tip")


def _finger_balls() -> dict[str, Ball]:
    return {
        f"{finger}_{level}": Ball({f"{finger}_{level}": 1.0}, radius, bone=f"{finger}_{level}")
        for finger in FINGERS
        for level, radius in zip(_LEVELS, _FINGER_RADII[finger], strict=True)
    }


def _between(first: str, second: str) -> dict[str, Ball]:
    """Return balls between the bases of two fingers, and in the web of skin beyond."""
    radius = (_FINGER_RADII[first][0] + _FINGER_RADII[second][0]) / 2  # so the wedges are flat
    web = {
        f"{finger}_{level}": share / 2
        for finger in (first, second)
        for level, share in (("mcp", 0.62), ("pip", 0.38))
    }
    return {
        f"{first}_{second}": Ball({f"{first}_mcp": 0.5, f"{second}_mcp": 0.5}, radius),
        f"web_{first}_{second}": Ball(web, 6.0, (0, 0, 1.0), bone=f"{first}_mcp"),
    }


BALLS: dict[str, Ball] = {
    **_finger_balls(),
    **_between("index", "middle"),
    **_between("middle", "ring"),
    **_between("ring", "pinky"),
    "wrist_radial": Ball({"wrist": 1.0}, 15.5, (12.5, -10, 0), "index_mcp"),
    "wrist_ulnar": Ball({"wrist": 1.0}, 15.0, (-12.5, -10, 0), "pinky_mcp"),
    "palm": Ball({"wrist": 0.45, "middle_mcp": 0.55}, 11.0, (2, 0, 3.5)),
    "hypothenar_low": Ball({"wrist": 0.8, "pinky_mcp": 0.2}, 14.5, (-9, 4, 5), "pinky_mcp"),
    "hypothenar_high": Ball({"wrist": 0.3, "pinky_mcp": 0.7}, 12.0, (-3, 0, 3.5), "pinky_mcp"),
    "thenar": Ball({"thumb_mcp": 0.62, "thumb_pip": 0.38}, 14.0, (-4, -2, 1.5), "thumb_mcp"),
    "thumb_web": Ball({"thumb_mcp": 0.4, "thumb_pip": 0.6}, 8.0, (-2, 2, -1)),
    "index_web": Ball({"index_mcp": 0.85, "wrist": 0.15}, 8.5, (3, 0, 1.5)),
    "arm_radial": Ball({"wrist": 1.0}, 22.0, (14, 0, 0), PERSON),
    "arm_ulnar": Ball({"wrist": 1.0}, 21.0, (-14, 0, 0), PERSON),
}
"""Balls by name. The balls of the elbow's end are shifted along the forearm when placed."""


def _finger_cones() -> list[tuple[str, str, str]]:
    return [
        (f"{finger}_{level}", f"{finger}_{end}", f"{finger}_{end}")
        for finger in FINGERS
        for level, end in pairwise(_LEVELS)
    ]


def _cones_between(first: str, second: str) -> list[tuple[str, str, str]]:
    """Return the cones between two knuckles, and from both to the web."""
    ends = f"{first}_{second}", f"web_{first}_{second}"
    return [(f"{f}_mcp", end, f"{f}_mcp") for f in (first, second) for end in ends]


CONES: tuple[tuple[str, str, str], ...] = (
    *_finger_cones(),
    *_cones_between("index", "middle"),
    *_cones_between("middle", "ring"),
    *_cones_between("ring", "pinky"),
    ("wrist_radial", "wrist_ulnar", "middle_mcp"),
    ("wrist_radial", "index_mcp", "index_mcp"),
    ("wrist_radial", "middle_mcp", "middle_mcp"),
    ("wrist_radial", "ring_mcp", "ring_mcp"),
    ("wrist_ulnar", "ring_mcp", "ring_mcp"),
    ("wrist_ulnar", "pinky_mcp", "pinky_mcp"),
    ("wrist_radial", "thumb_mcp", "thumb_mcp"),
    ("thumb_mcp", "thenar", "thumb_mcp"),
    ("thumb_mcp", "index_web", "thumb_mcp"),
    ("thumb_web", "index_web", "thumb_mcp"),
    ("thenar", "palm", "thumb_mcp"),
    ("thenar", "thumb_pip", "thumb_pip"),
    ("wrist_ulnar", "hypothenar_low", "pinky_mcp"),
    ("hypothenar_low", "hypothenar_high", "pinky_mcp"),
    ("hypothenar_low", "palm", "pinky_mcp"),
    ("hypothenar_high", "palm", "pinky_mcp"),
    ("hypothenar_high", "pinky_mcp", "pinky_mcp"),
    ("wrist_radial", "arm_radial", PERSON),
    ("wrist_ulnar", "arm_ulnar", PERSON),
)
"""Pairs of balls, with the bone that their cone covers."""


def _web_wedges(first: str, second: str) -> list[tuple[str, str, str, str]]:
    middle, web = f"{first}_{second}", f"web_{first}_{second}"
    return [(f"{f}_mcp", middle, web, f"{f}_mcp") for f in (first, second)]


WEDGES: tuple[tuple[str, str, str, str], ...] = (
    ("wrist_radial", "index_mcp", "index_middle", "index_mcp"),
    ("wrist_radial", "index_middle", "middle_mcp", "middle_mcp"),
    ("wrist_radial", "middle_mcp", "middle_ring", "middle_mcp"),
    ("wrist_radial", "middle_ring", "ring_mcp", "ring_mcp"),
    ("wrist_radial", "wrist_ulnar", "ring_mcp", "ring_mcp"),
    ("wrist_ulnar", "ring_mcp", "ring_pinky", "ring_mcp"),
    ("wrist_ulnar", "ring_pinky", "pinky_mcp", "pinky_mcp"),
    *_web_wedges("index", "middle"),
    *_web_wedges("middle", "ring"),
    *_web_wedges("ring", "pinky"),
    ("wrist_radial", "thumb_mcp", "palm", "thumb_mcp"),
    ("thumb_mcp", "thenar", "palm", "thumb_mcp"),
    ("thumb_mcp", "thumb_web", "index_web", "thumb_mcp"),
    ("thumb_mcp", "index_web", "wrist_radial", "thumb_mcp"),
    ("hypothenar_low", "hypothenar_high", "palm", "pinky_mcp"),
    ("wrist_radial", "wrist_ulnar", "arm_radial", PERSON),
    ("wrist_ulnar", "arm_radial", "arm_ulnar", PERSON),
)
"""Triples of balls, with the bone that their wedge covers."""
