"""Learned graphs and weights: cells, arcs and names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, GatedMerger
from handgraph.plot import draw_adjacency, draw_adjacency_edges, draw_weights, skeleton_layout

REMOVAL = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"grip": ["thumb", "index"], "tips": ["ring_tip", "pinky_tip"]})
PAIR = Skeleton("pair", ["a", "b", "c"], [("a", "b")])
AT = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def cells(ax):
    return torch.from_numpy(np.ma.filled(ax.images[0].get_array(), np.nan))


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_heat_map_shows_the_matrix_with_names():
    adjacency = random(21, 21)
    ax = draw_adjacency(adjacency, HAND)
    assert torch.equal(cells(ax), adjacency)
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == list(HAND.joints)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("from", "to")
    assert list(ax.get_yticks()) == list(range(21))
    assert ax.yaxis_inverted()  # the first row is on top


def test_heat_map_is_white_at_zero():
    image = draw_adjacency(random(21, 21), HAND).images[0]
    low, high = image.get_clim()
    assert -low == high == random(21, 21).abs().max()
    assert min(image.cmap(image.norm(0.0))[:3]) > 0.95


def test_heat_map_leaves_nan_blank():
    adjacency = random(21, 21)
    adjacency[3, 4] = torch.nan
    image = draw_adjacency(adjacency, HAND).images[0]
    assert np.ma.getmaskarray(image.get_array()).nonzero() == (3, 4)
    assert np.isfinite(image.get_clim()).all()


def test_heat_map_of_a_branch():
    finest = AdaptiveGraphUNet(2, 3, REMOVAL).adjacencies()[0]
    ax = draw_adjacency(finest[1], REMOVAL.subgraph(1))
    assert ticks(ax.yaxis) == list(REMOVAL.subgraph(1).joints)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
def test_infinities_do_not_count_for_the_scale(value):
    adjacency = torch.zeros(3, 3)
    adjacency[0, 1], adjacency[1, 2] = 0.5, value
    assert draw_adjacency(adjacency, PAIR).images[0].get_clim() == (-0.5, 0.5)
    assert len(draw_adjacency_edges(adjacency, PAIR, AT).patches) == 1


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_heat_map_without_any_weight_has_a_scale(value):
    assert draw_adjacency(torch.full((3, 3), value), PAIR).images[0].get_clim() == (-1, 1)


def test_arc_leads_from_column_to_row():
    adjacency = torch.tensor([[9.0, 0, 0], [0.5, 9, 0], [0, -0.25, 9]])
    ax = draw_adjacency_edges(adjacency, PAIR, AT)
    first, second = ax.patches
    assert first.get_path().vertices[[0, -1]].tolist() == [[0, 0], [1, 0]]  # a to b: row b
    assert second.get_path().vertices[[0, -1]].tolist() == [[1, 0], [0, 2]]  # b to c
    assert first.get_path().vertices[1].tolist() == pytest.approx([0.5, 0.2])  # bends to the left


def test_arc_shows_size_and_sign():
    adjacency = torch.tensor([[9.0, 0, 0], [0.5, 9, 0], [0, -0.25, 9]])
    positive, negative = draw_adjacency_edges(adjacency, PAIR, AT).patches
    assert positive.get_linewidth() == 2 * negative.get_linewidth() > 0
    assert (positive.get_linestyle(), negative.get_linestyle()) == ("-", "--")
    orange, violet = positive.get_edgecolor()[:3], negative.get_edgecolor()[:3]
    assert (orange, violet) == (to_rgb("#B35806"), to_rgb("#542788"))
    heat = draw_adjacency(torch.tensor([[1.0, -1, 0]] * 3), PAIR).images[0]
    assert heat.cmap(1.0)[0] > heat.cmap(1.0)[2]  # high values are orange here too
    assert heat.cmap(0.0)[0] < heat.cmap(0.0)[2]


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.5, 9.0])
def test_arcs_above_the_threshold_are_drawn(threshold):
    adjacency = random(21, 21)
    adjacency[2, 3] = torch.nan
    ax = draw_adjacency_edges(adjacency, HAND, threshold=threshold)
    strong = adjacency.abs() > threshold
    assert len(ax.patches) == int(strong.sum() - strong.diagonal().sum())
    assert len(ax.lines) == 20 + 1  # bones, and all joints in one style


def test_threshold_itself_is_left_out():
    adjacency = torch.tensor([[0.0, 0.5, 0.25], [0, 0, 0], [0, 0, 0]])
    assert len(draw_adjacency_edges(adjacency, PAIR, threshold=0.25).patches) == 1


def test_no_arc_at_a_joint_that_is_not_finite():
    at = AT.clone()
    at[0, 0] = torch.nan
    assert len(draw_adjacency_edges(torch.ones(3, 3), PAIR, at).patches) == 2


def test_arcs_do_not_change_the_matrix():
    adjacency = random(21, 21)
    draw_adjacency_edges(adjacency, HAND)
    assert torch.equal(adjacency, random(21, 21))


def test_arcs_lie_inside_the_axes():
    adjacency = torch.zeros(21, 21)
    adjacency[HAND.index("thumb_tip"), HAND.index("pinky_tip")] = 1
    ax = draw_adjacency_edges(adjacency, HAND)
    middle = skeleton_layout(HAND)[HAND.select(["thumb_tip", "pinky_tip"])].mean(dim=0)
    ax.figure.canvas.draw()
    box = ax.viewLim
    for x, y in ax.patches[0].get_path().interpolated(20).vertices:
        assert box.x0 <= x <= box.x1
        assert box.y0 <= y <= box.y1
    assert box.y1 > middle[1]


@pytest.mark.parametrize("removal", [REMOVAL, RAGGED], ids=["even", "ragged"])
def test_weights_are_drawn_at_joint_and_set(removal):
    partial = random(8, len(removal), removal.num_nodes, 3)
    merge = GatedMerger(3, 3, removal).double()
    _, weights = merge(partial, return_weights=True)
    mean = weights.mean(dim=0)
    ax = draw_weights(mean, removal)
    table = cells(ax)
    for n in range(len(removal)):
        for k, joint in enumerate(removal.kept[n, removal.node_mask[n]].tolist()):
            assert table[joint, n] == mean[n, k]
    assert torch.equal(table.isnan(), ~removal.keep_mask.t())
    torch.testing.assert_close(table.nansum(dim=1), torch.ones(21, dtype=torch.float64))
    assert ticks(ax.xaxis) == list(removal.names)
    assert ticks(ax.yaxis) == list(HAND.joints)
    assert ax.images[0].get_clim() == (0, mean.max())


def test_an_infinite_weight_does_not_count_for_the_scale():
    weights = torch.full((2, 19), 0.5)
    weights[0, 3] = torch.inf
    assert draw_weights(weights, RAGGED).images[0].get_clim() == (0, 0.5)


def test_removed_joints_are_crosses():
    (cross,) = draw_weights(torch.rand(2, 19), RAGGED).lines
    assert cross.get_marker() == "x"
    lost = (~RAGGED.keep_mask).nonzero().double().numpy()
    assert cross.get_xydata().tolist() == lost.tolist()


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: draw_adjacency(torch.ones(4, 21, 21), HAND), ValueError, r"\[21, 21\].*\[4, 21"),
        (lambda: draw_adjacency(torch.ones(16, 16), HAND), ValueError, "joints by joints of HAND"),
        (lambda: draw_adjacency(torch.ones(21, 21).long(), HAND), TypeError, "floating"),
        (lambda: draw_adjacency_edges(torch.ones(2, 3), PAIR), ValueError, r"\[3, 3\]"),
        (lambda: draw_adjacency_edges(torch.ones(3, 3), PAIR, AT[:2]), ValueError, "positions"),
        (
            lambda: draw_adjacency_edges(torch.ones(3, 3), PAIR, threshold=-1.0),
            ValueError,
            "at least 0, got -1",
        ),
        (
            lambda: draw_adjacency_edges(torch.ones(3, 3), PAIR, threshold=float("nan")),
            ValueError,
            "threshold",
        ),
        (lambda: draw_weights(torch.ones(8, 4, 16), REMOVAL), ValueError, r"\[4, 16\]"),
        (lambda: draw_weights(torch.ones(4, 21), REMOVAL), ValueError, r"\[4, 16\]"),
    ],
)
def test_refuses(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
