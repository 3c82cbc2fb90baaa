"""Colours, markers and dashes of joints, poses and curves."""

from __future__ import annotations

from typing import NamedTuple

from handgraph.skeleton import Skeleton
from handgraph.skeletons import FINGERS

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of Okabe and Ito (2008), without black, and without yellow, which is faint on white."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X")

DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1)))

NEUTRAL = "#404040"
"""Colour of joints and edges without a limb."""

FAINT = "#999999"
"""Colour of removed joints and reference lines."""


class Style(NamedTuple):
    """Style of a limb, pose or curve; ``name`` is its legend entry (``""`` for none)."""

    name: str
    color: str = NEUTRAL
    marker: str = "o"
    dashes: str | tuple[int, tuple[int, ...]] = "-"


def style(position: int, name: str) -> Style:
    """Return the style of the limb, pose or curve with index ``position``.

    The lists have 6, 7 and 5 entries, so styles repeat after 210.
    """
    return Style(
        name,
        COLORS[position % len(COLORS)],
        MARKERS[position % len(MARKERS)],
        DASHES[position % len(DASHES)],
    )


def joint_styles(skeleton: Skeleton) -> list[Style]:
    """Return the style of every joint: that of its limb with solid lines, or a neutral circle."""
    limbs = _limbs(skeleton)
    styles = [Style("")] * skeleton.num_joints
    for position, limb in reversed(list(enumerate(limbs))):  # the first limb has priority
        for joint in skeleton.select(limb) if limb in skeleton.groups else ():
            styles[joint] = style(position, limb)._replace(dashes="-")
    return styles


def edge_style(one: Style, other: Style) -> Style:
    """Return the style of an edge: that of both ends, or of the only end with a limb."""
    if one == other or not other.name:
        return one
    return Style("") if one.name else other


def _limbs(skeleton: Skeleton) -> list[str]:
    """Return the groups along bones; fingers have fixed indices, even if some are absent."""
    limbs = [group for group in skeleton.groups if _runs_along_bones(skeleton, group)]
    if not set(limbs) & set(FINGERS):
        return limbs
    return [*FINGERS, *(limb for limb in limbs if limb not in FINGERS)]


def _runs_along_bones(skeleton: Skeleton, group: str) -> bool:
    """Return whether a group contains a bone, and its joints have at most two neighbours in it."""
    joints = skeleton.select(group)
    degree = skeleton.adjacency()[joints][:, joints].sum(dim=1)
    return bool(0 < degree.max() <= 2)
