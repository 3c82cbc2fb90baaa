"""Common skeletons, with the joints in the order of their datasets.

Joints are named, so ``TARGET.index_from(SOURCE)`` converts between orders.
"""

from __future__ import annotations

from itertools import chain as flatten

from handgraph.skeleton import Skeleton, chain

LEVELS = ("TIP", "DIP", "PIP", "MCP")
"""The removal sets of the paper, in its order (section 2)."""

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
"""The fingers, in the order of :data:`HAND`."""

_BASE_TO_TIP = ("mcp", "pip", "dip", "tip")


def _hand_groups(prefixes: tuple[str, ...] = ("",)) -> dict[str, list[str]]:
    """Return the levels and fingers of one hand, or of the hands with these name prefixes."""
    groups = {
        level: [f"{hand}{finger}_{level.lower()}" for hand in prefixes for finger in FINGERS]
        for level in LEVELS
    }
    for finger in FINGERS:
        groups[finger] = [f"{hand}{finger}_{level}" for hand in prefixes for level in _BASE_TO_TIP]
    return groups


def _hand_edges(prefix: str = "") -> list[tuple[str, str]]:
    fingers = ([f"{prefix}{finger}_{level}" for level in _BASE_TO_TIP] for finger in FINGERS)
    return [edge for finger in fingers for edge in chain(f"{prefix}wrist", *finger)]


HAND = Skeleton(
    "HAND",
    ("wrist", *(f"{finger}_{level}" for finger in FINGERS for level in _BASE_TO_TIP)),
    tuple(_hand_edges()),
    groups=_hand_groups(),
    aliases={"thumb_cmc": "thumb_mcp", "thumb_ip": "thumb_dip"},
    root="wrist",
)
"""The 21 joints of a hand, wrist first, then thumb to pinky, each finger from base to tip.

The order of FreiHAND, MediaPipe and OpenPose. The four joints of the thumb are named mcp, pip,
dip, tip from the wrist on, like those of the other fingers, so that each level has one joint per
finger (decision 13). Their anatomical names are CMC, MCP, IP, TIP. ``thumb_cmc`` and ``thumb_ip``
are accepted as aliases, but ``thumb_mcp`` is always the first joint after the wrist.
Groups: ``"TIP"``, ``"DIP"``, ``"PIP"``, ``"MCP"``, and the five fingers.
"""

RHD = HAND.reorder(
    "RHD", ["wrist", *(f"{f}_{level}" for f in FINGERS for level in reversed(_BASE_TO_TIP))]
)
"""One hand of the Rendered Hand pose Dataset: :data:`HAND` with each finger from tip to base."""

MANO = HAND.reorder(
    "MANO",
    ["wrist"]
    + [
        f"{f}_{level}"
        for f in ("index", "middle", "pinky", "ring", "thumb")
        for level in ("mcp", "pip", "dip")
    ]
    + [f"{f}_tip" for f in FINGERS],
)
"""MANO's 16 joints in its own order, then the five fingertips from thumb to pinky."""

_SIDES = ("right", "left")

INTERHAND = Skeleton(
    "INTERHAND",
    tuple(
        flatten.from_iterable(
            [
                *(f"{side}_{f}_{level}" for f in FINGERS for level in reversed(_BASE_TO_TIP)),
                f"{side}_wrist",
            ]
            for side in _SIDES
        )
    ),
    tuple(edge for side in _SIDES for edge in _hand_edges(f"{side}_")),
    groups=_hand_groups(("right_", "left_"))
    | {side: [f"{side}_{joint}" for joint in HAND.joints] for side in _SIDES},
)
"""InterHand2.6M's 42 joints, right hand, then left, each from thumb tip to wrist.

It has two components and no root. Groups are those of :data:`HAND` over both hands, and the sides.
"""

_COCO_LIMBS = [
    ("ankle", "knee"),
    ("knee", "hip"),
    ("hip", "shoulder"),
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("eye", "ear"),
    ("ear", "shoulder"),
]
_LEFT_RIGHT = ("left", "right")

COCO = Skeleton(
    "COCO",
    (
        "nose",
        *(
            f"{side}_{part}"
            for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
            for side in _LEFT_RIGHT
        ),
    ),
    (
        *((f"{side}_{u}", f"{side}_{v}") for u, v in _COCO_LIMBS for side in _LEFT_RIGHT),
        *((f"left_{part}", f"right_{part}") for part in ("hip", "shoulder", "eye")),
        ("nose", "left_eye"),
        ("nose", "right_eye"),
    ),
    groups={
        "head": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
        **{
            f"{side}_arm": tuple(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist"))
            for side in _LEFT_RIGHT
        },
        **{
            f"{side}_leg": tuple(f"{side}_{part}" for part in ("hip", "knee", "ankle"))
            for side in _LEFT_RIGHT
        },
    },
)
"""COCO's 17 body joints and its 19 published edges, which form cycles. It has no root."""

H36M = Skeleton.from_parents(
    "H36M",
    {
        "pelvis": None,
        "right_hip": "pelvis",
        "right_knee": "right_hip",
        "right_ankle": "right_knee",
        "left_hip": "pelvis",
        "left_knee": "left_hip",
        "left_ankle": "left_knee",
        "spine": "pelvis",
        "thorax": "spine",
        "neck": "thorax",
        "head": "neck",
        "left_shoulder": "thorax",
        "left_elbow": "left_shoulder",
        "left_wrist": "left_elbow",
        "right_shoulder": "thorax",
        "right_elbow": "right_shoulder",
        "right_wrist": "right_elbow",
    },
    groups={
        "torso": ("pelvis", "spine", "thorax", "neck", "head"),
        **{
            f"{side}_arm": tuple(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist"))
            for side in _LEFT_RIGHT
        },
        **{
            f"{side}_leg": tuple(f"{side}_{part}" for part in ("hip", "knee", "ankle"))
            for side in _LEFT_RIGHT
        },
    },
)
"""The 17 joints of Human3.6M that 3D lifters use, rooted at the pelvis."""

ALL = (HAND, RHD, MANO, INTERHAND, COCO, H36M)
"""All skeletons of the package."""
