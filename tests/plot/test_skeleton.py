"""Pictures of skeletons and removal sets: positions of the marks."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from handgraph import COCO, H36M, HAND, INTERHAND, RemovalSets, Skeleton
from handgraph.plot import draw_removal_set, draw_skeleton, skeleton_layout
from handgraph.plot.style import FAINT, NEUTRAL, joint_styles

REMOVAL = RemovalSets.by_level(HAND)
TOYS = [
    Skeleton("cycle", "abcd", [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]),
    Skeleton("forest", "abcde", [("a", "b"), ("c", "d")]),
    Skeleton.edgeless(5),
]


def bones(ax, style=None):
    """Return the ends of every line without markers, as a set of pairs."""
    lines = [line for line in ax.lines if line.get_marker() == "None"]
    if style is not None:
        lines = [line for line in lines if line.get_linestyle() == style]
    return {frozenset(map(tuple, line.get_xydata().tolist())) for line in lines}


def joints(ax, marker=None):
    """Return the sorted positions of all markers."""
    lines = [line for line in ax.lines if line.get_linestyle() == "None"]
    if marker is not None:
        lines = [line for line in lines if line.get_marker() == marker]
    return sorted(tuple(point) for line in lines for point in line.get_xydata().tolist())


def pairs(skeleton, points, edges):
    at = dict(zip(skeleton.joints, map(tuple, points.double().tolist()), strict=True))
    return {frozenset((at[u], at[v])) for u, v in edges}


@pytest.mark.parametrize("skeleton", [HAND, INTERHAND, COCO, H36M, *TOYS], ids=lambda s: s.name)
def test_joints_and_edges_are_drawn_at_layout_positions(skeleton):
    ax, points = draw_skeleton(skeleton), skeleton_layout(skeleton)
    assert joints(ax) == sorted(map(tuple, points.double().tolist()))
    assert bones(ax) == pairs(skeleton, points, skeleton.edges)
    assert len(ax.texts) == 0


def test_positions_replace_the_layout():
    points = torch.rand(21, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ax = draw_skeleton(HAND, points)
    assert joints(ax) == sorted(map(tuple, points.tolist()))
    assert ax.get_aspect() == 1


def test_names_are_drawn_at_their_joints():
    ax = draw_skeleton(HAND, names=True)
    written = {text.get_text(): text.xy for text in ax.texts}
    points = map(tuple, skeleton_layout(HAND).double().tolist())
    assert written == dict(zip(HAND.joints, points, strict=True))


def test_limbs_differ_by_colour_and_marker():
    ax = draw_skeleton(HAND)
    looks = {}
    for line in ax.lines:
        if line.get_linestyle() == "None" and not line.get_label().startswith("_"):
            looks[line.get_label()] = (line.get_color(), line.get_marker())
    assert list(looks) == ["thumb", "index", "middle", "ring", "pinky"]
    assert len({color for color, _ in looks.values()}) == 5
    assert len({marker for _, marker in looks.values()}) == 5


@pytest.mark.parametrize(
    ("skeleton", "joint", "limb"),
    [
        (HAND, "index_tip", "index"),
        (HAND, "wrist", ""),
        (INTERHAND, "left_ring_mcp", "ring"),
        (INTERHAND, "left_wrist", ""),
        (COCO, "left_elbow", "left_arm"),
        (H36M, "spine", "torso"),
    ],
)
def test_limb_of_a_joint(skeleton, joint, limb):
    assert joint_styles(skeleton)[skeleton.index(joint)].name == limb


def test_a_finger_looks_the_same_when_another_is_gone():
    rest = RemovalSets.by_finger(HAND).subgraph("thumb")
    whole, part = joint_styles(HAND), joint_styles(rest)
    assert part == [whole[joint] for joint in rest.keep]


def test_bones_take_the_colour_of_their_limb():
    ax, xy = draw_skeleton(COCO), skeleton_layout(COCO).double()
    colours = {frozenset(map(tuple, line.get_xydata().tolist())): line.get_color()
               for line in ax.lines if line.get_marker() == "None"}  # fmt: skip

    def colour(one, other):
        return colours[frozenset(tuple(xy[COCO.index(j)].tolist()) for j in (one, other))]

    arm = joint_styles(COCO)[COCO.index("left_elbow")].color
    assert colour("left_elbow", "left_wrist") == arm == colour("left_ear", "left_shoulder")
    assert colour("left_shoulder", "right_shoulder") == NEUTRAL  # between two limbs


@pytest.mark.parametrize("which", ["TIP", "DIP", "PIP", "MCP", 0, -1])
def test_removed_joints_are_crosses_and_bridges_dashed(which):
    ax, points = draw_removal_set(REMOVAL, which), skeleton_layout(HAND)
    rest = REMOVAL.subgraph(which)
    lost = sorted(set(range(21)) - set(rest.keep))
    assert joints(ax, "x") == sorted(map(tuple, points[lost].double().tolist()))
    assert len(joints(ax)) == 21
    solid = [edge for edge in rest.edges if edge in HAND.edges or edge[::-1] in HAND.edges]
    bridges = [edge for edge in rest.edges if edge not in solid]
    assert len(bridges) == (0 if rest.name.endswith("TIP") else 5)
    assert bones(ax, "-") == pairs(HAND, points, solid)
    assert bones(ax, "--") == pairs(HAND, points, bridges)
    assert ax.get_title() == rest.name.split()[-1]


def test_induced_edges_leave_gaps():
    ax = draw_removal_set(REMOVAL, "PIP", edges="induced")
    assert bones(ax, "--") == set()
    assert len(bones(ax, "-")) == 10


def test_crosses_are_grey_and_named_in_a_legend():
    ax = draw_removal_set(REMOVAL, "TIP")
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert (cross.get_color(), cross.get_label()) == (FAINT, "removed")


def test_a_joint_that_is_not_finite_is_not_drawn():
    points = skeleton_layout(HAND)
    points[HAND.index("index_pip"), 0] = torch.nan
    points[HAND.index("thumb_tip"), 1] = torch.inf
    ax = draw_skeleton(HAND, points, names=True)
    assert (len(joints(ax)), len(bones(ax)), len(ax.texts)) == (19, 17, 19)
    assert len(joints(draw_removal_set(REMOVAL, "TIP", points), "x")) == 4


def test_draws_on_the_axes_that_it_is_given():
    ax = Figure().add_subplot()
    assert draw_skeleton(HAND, ax=ax) is ax
    assert draw_removal_set(REMOVAL, 0, ax=ax) is ax


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: draw_skeleton(HAND, torch.zeros(20, 2)), ValueError, r"\[21, 2\].*HAND.*\[20, 2"),
        (lambda: draw_skeleton(HAND, torch.zeros(21, 3)), ValueError, r"\[21, 2\]"),
        (lambda: draw_skeleton(HAND, torch.zeros(1, 21, 2)), ValueError, r"\[21, 2\]"),
        (lambda: draw_skeleton(HAND, torch.zeros(21, 2).long()), TypeError, "floating"),
        (lambda: draw_skeleton(HAND, [[0.0, 0.0]] * 21), TypeError, "torch.Tensor, got list"),
        (
            lambda: draw_removal_set(REMOVAL, "WRIST"),
            ValueError,
            "expected one of the sets .* got 'WRIST'",
        ),
        (lambda: draw_removal_set(REMOVAL, 0, edges="all"), ValueError, "bridged"),
        (
            lambda: draw_skeleton(HAND, ax=Figure().add_subplot(projection="3d")),
            ValueError,
            "2D axes",
        ),
    ],
)
def test_refuses(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
