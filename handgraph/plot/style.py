"""Colours, markers and dashes: which joint, pose or curve gets which."""

from __future__ import annotations

from typing import NamedTuple

from handgraph.skeleton import Skeleton
from handgraph.skeletons import FINGERS

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), without black, and without yellow, which is faint on white."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X")

DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1)))

NEUTRAL = "#404040"
"""Whatever belongs to no limb."""

FAINT = "#999999"
"""Whatever is not there, and reference lines."""


class Style(NamedTuple):
    """How one limb, pose or curve looks; ``name`` is its entry in a legend (``""``: none)."""

    name: str
    color: str = NEUTRAL
    marker: str = "o"
    dashes: str | tuple[int, tuple[int, ...]] = "-"


def style(position: int, name: str) -> Style:
    """Give the style of the limb, pose or curve at ``position``.

    The three lists have 6, 7 and 5 entries, so the same triple comes back after 210.
    """
    return Style(
        name,
        COLORS[position % len(COLORS)],
        MARKERS[position % len(MARKERS)],
        DASHES[position % len(DASHES)],
    )


def joint_styles(skeleton: Skeleton) -> list[Style]:
    """Style every joint by its limb, with solid lines. A joint of no limb is a neutral circle."""
    limbs = _limbs(skeleton)
    styles = [Style("")] * skeleton.num_joints
    for position, limb in reversed(list(enumerate(limbs))):  # the first limb of a joint counts
        for joint in skeleton.select(limb) if limb in skeleton.groups else ():
            styles[joint] = style(position, limb)._replace(dashes="-")
    return styles


def edge_style(one: Style, other: Style) -> Style:
    """Style an edge by its ends: the limb of both, or of the one that has a limb."""
    if one == other or not other.name:
        return one
    return Style("") if one.name else other


def _limbs(skeleton: Skeleton) -> list[str]:
    """The groups that run along bones; fingers always count from the thumb, whichever are there."""
    limbs = [group for group in skeleton.groups if _runs_along_bones(skeleton, group)]
    if not set(limbs) & set(FINGERS):
        return limbs
    return [*FINGERS, *(limb for limb in limbs if limb not in FINGERS)]


def _runs_along_bones(skeleton: Skeleton, group: str) -> bool:
    """Whether a group holds a bone, and no joint of it has more than two neighbours in it."""
    joints = skeleton.select(group)
    degree = skeleton.adjacency()[joints][:, joints].sum(dim=1)
    return bool(0 < degree.max() <= 2)
