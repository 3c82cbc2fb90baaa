"""Positions of joints without coordinates."""

from __future__ import annotations

import pytest
import torch

from handgraph import COCO, H36M, HAND, INTERHAND, MANO, RHD, RemovalSets, Skeleton
from handgraph.plot import skeleton_layout

CYCLE = Skeleton("cycle", "abcd", [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")])
FOREST = Skeleton("forest", "abcdefg", [("a", "b"), ("c", "d"), ("d", "e"), ("e", "f")])


@pytest.mark.parametrize("skeleton", [RHD, MANO], ids=lambda s: s.name)
def test_layout_does_not_depend_on_the_joint_order(skeleton):
    assert torch.equal(skeleton_layout(skeleton)[HAND.index_from(skeleton)], skeleton_layout(HAND))


@pytest.mark.parametrize("which", ["TIP", "MCP"])
def test_joints_of_a_subgraph_keep_their_position(which):
    rest = RemovalSets.by_level(HAND).subgraph(which)
    assert torch.equal(skeleton_layout(rest), skeleton_layout(HAND)[list(rest.keep)])


def test_hand_is_the_back_of_a_right_one():
    xy = skeleton_layout(HAND)
    tips = xy[HAND.select("TIP")]
    assert (tips[:, 0].diff() > 0).all()  # thumb to pinky from left to right
    assert (tips[:, 1] > xy[HAND.index("wrist"), 1]).all()


def test_two_hands_are_mirror_images_side_by_side():
    xy = skeleton_layout(INTERHAND)
    left, right = xy[INTERHAND.select("left")], xy[INTERHAND.select("right")]
    assert torch.equal(left, right * torch.tensor([-1, 1]))
    assert left[:, 0].max() < right[:, 0].min()


@pytest.mark.parametrize("body", [COCO, H36M], ids=lambda s: s.name)
def test_body_layout_is_upright_and_frontal(body):
    xy = dict(zip(body.joints, skeleton_layout(body).tolist(), strict=True))
    heights = [xy[f"left_{part}"][1] for part in ("shoulder", "hip", "knee", "ankle")]
    assert heights == sorted(heights, reverse=True)
    assert xy["left_wrist"][0] == -xy["right_wrist"][0] > 0


def test_a_cycle_is_drawn_round():
    xy = skeleton_layout(CYCLE)
    radii = (xy - xy.mean(dim=0)).norm(dim=-1)
    torch.testing.assert_close(radii, torch.full((4,), 0.5**0.5), atol=1e-3, rtol=0)


def test_components_are_placed_side_by_side():
    x = skeleton_layout(FOREST)[:, 0]
    assert x[:2].max() < x[2:6].min()
    assert x[2:6].max() < x[6]


def test_edges_are_one_long_on_average():
    start, end = skeleton_layout(FOREST)[FOREST.edge_index]
    assert (end - start).norm(dim=-1)[2:].mean().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("num_joints", [1, 2, 29])
def test_joints_without_edges_form_a_circle(num_joints):
    xy = skeleton_layout(Skeleton.edgeless(num_joints))
    assert xy.shape == (num_joints, 2)
    assert torch.cdist(xy, xy).fill_diagonal_(9).min() > 0.5
    assert xy.norm(dim=-1).std(correction=0) < 1e-5


def test_layout_does_not_depend_on_joint_names():
    """The layout does not depend on the order of a set of names, which differs between runs."""

    def layout(names):
        u, v, w, x, y, z = names.split()
        return skeleton_layout(Skeleton("s", [u, v, w, x, y, z], [(u, v), (v, w), (v, x), (y, z)]))

    expected = layout("a b c d e f")
    for names in ("f e d c b a", "ring ear tail pip x0 wrist", "0 10 5 7 3 11", "q zz w e r ttt"):
        assert torch.equal(layout(names), expected)
