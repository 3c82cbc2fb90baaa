from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, masks
from handgraph.nn import AdaptiveGraphUNet


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_threshold_keeps_scores_above_it():
    score = torch.tensor([0.0, 0.5, 0.500001, 1.0])
    assert masks.keep_confident(score, 0.5).tolist() == [False, False, True, True]


def test_soft_gate_in_closed_form():
    score = torch.tensor([0.2, 0.5, 0.9]).double()
    odds = (score / (1 - score)) ** 1.8 * torch.e**0.3
    assert_close(masks.soft_gate(score, slope=1.8, bias=0.3), odds / (1 + odds))
    assert_close(masks.soft_gate(score), score)
    assert masks.soft_gate(torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("slope", [-1.5, 0.0, 0.3, 1.0, 8.0])
def test_gates_of_sure_scores(slope, dtype):
    score = torch.tensor([0.0, 0.3, 1.0], dtype=dtype, requires_grad=True)
    gate = masks.soft_gate(score, slope=slope, bias=0.5)
    limits = {-1: [1.0, 0.0], 0: 2 * [torch.tensor(0.5).sigmoid().item()], 1: [0.0, 1.0]}
    expected = torch.tensor(limits[(slope > 0) - (slope < 0)], dtype=dtype)
    assert_close(gate[[0, 2]], expected)
    (gradient,) = torch.autograd.grad(gate.sum(), score)
    inner = gate[1].item()
    steep = slope * inner * (1 - inner) / (0.3 * 0.7)
    assert gradient.tolist() == [0.0, pytest.approx(steep, rel=1e-2), 0.0]


@pytest.mark.parametrize(
    ("bias", "expected"), [(0.0, 0.3), (1.0, 0.3 * torch.e / (0.7 + 0.3 * torch.e))]
)
def test_joints_are_kept_with_the_probability_of_their_score(bias, expected):
    kept = masks.sample_visible(torch.full((40_000,), 0.3), bias=bias, generator=rng())
    assert kept.double().mean().item() == pytest.approx(expected, abs=0.01)  # 4 sigma


def test_samples_are_independent():
    kept = masks.sample_visible(torch.full((40_000, 2), 0.5), generator=rng()).double()
    assert kept.T.corrcoef()[0, 1].abs() < 0.02


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 99))
def test_levels_keep_a_joint_in_its_share_of_draws(draws, joints, seed):
    levels = masks.stratified_levels(draws, joints, rng(seed))
    score = torch.rand(joints, generator=rng(seed + 1))
    kept = (score > levels).sum(dim=0)
    assert (kept - draws * score).abs().max() <= 0.5 + 1e-5
    assert (torch.ones(joints) > levels).all()
    assert not (torch.zeros(joints) > levels).any()


def test_draws_are_on_the_device_of_their_generator():
    with torch.device("meta"):
        draws = [masks.stratified_levels(4, 3, rng()), masks.drop_joints((4, 3), 0.5, rng())]
    assert {draw.device.type for draw in draws} == {"cpu"}


def test_joints_are_dropped_as_often_as_asked():
    kept = masks.drop_joints((20_000, 3), 0.25, rng())
    assert kept.double().mean(dim=0).numpy() == pytest.approx([0.75] * 3, abs=0.013)
    assert masks.drop_joints((4, 3), 0.0, rng()).all()
    assert not masks.drop_joints((4, 3), 1.0, rng()).any()


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_regions_are_balls_on_the_skeleton(hops):
    dropped = ~masks.drop_region(HAND, (500,), hops, rng())
    balls = {tuple((row <= hops).tolist()) for row in HAND.hops()}
    assert {tuple(row) for row in dropped.tolist()} == balls  # exactly these


def test_drop_set_drops_exactly_one_set():
    removal = RemovalSets.by_finger(HAND)
    kept = masks.drop_set(removal, (20, 10), rng())
    assert kept.shape == (20, 10, 21)
    drawn = {tuple(row) for row in kept.flatten(0, 1).tolist()}
    assert drawn == {tuple(row) for row in removal.keep_mask.tolist()}


def test_some_joints_are_always_kept():
    nothing = torch.zeros(2, 21, dtype=torch.bool)
    kept = masks.keep_always(nothing, HAND, ["wrist", "thumb_tip"])
    assert [HAND.joints[i] for i in kept[0].nonzero().flatten()] == ["wrist", "thumb_tip"]
    assert not nothing.any()
    gates = masks.keep_always(torch.full((21,), 0.5), HAND, "TIP")
    assert gates.sum().item() == 5 + 16 * 0.5


def test_full_draw_is_used_only_for_joints_that_no_other_draw_keeps():
    drawn = torch.rand(3, 50, 21, generator=rng()) < 0.3
    node_mask, used = masks.cover(drawn)
    assert torch.equal(node_mask[:3], drawn)
    assert torch.equal(used[:3], drawn)
    assert node_mask[3].all()
    assert torch.equal(used[3], (drawn.sum(dim=0) == 0))
    assert used.any(dim=0).all()


def test_average_draws_averages_over_used_draws():
    poses, used = torch.randn(4, 5, 21, 3).double(), torch.rand(4, 5, 21, generator=rng()) < 0.5
    used[:, 0, 0] = False
    merged = masks.average_draws(poses, used)
    for b in range(5):
        for j in range(21):
            said = [poses[k, b, j] for k in range(4) if used[k, b, j]]
            expected = sum(said) / len(said) if said else torch.full((3,), torch.nan).double()
            assert_close(merged[b, j], expected, equal_nan=True)


def test_unused_draws_have_no_influence():
    poses = torch.randn(2, 21, 3, requires_grad=True)
    used = torch.ones(2, 21, dtype=torch.bool)
    used[1, 4] = False
    masks.average_draws(poses, used).sum().backward()
    assert poses.grad[1, 4].eq(0).all()
    assert poses.grad[0, 4].eq(1).all()


def test_combined_masks_are_valid_node_masks():
    score = torch.rand(8, 6, 21, generator=rng())
    mask = masks.keep_confident(score, 0.2) & masks.drop_joints((8, 6, 21), 0.1, rng())
    node_mask, used = masks.cover(masks.keep_always(mask, HAND, "wrist"))
    x = torch.rand(6, 21, 2)
    pose = masks.average_draws(
        AdaptiveGraphUNet(2, 3, HAND)(x.expand(9, 6, 21, 2), node_mask), used
    )
    assert pose.shape == (6, 21, 3)
    assert pose.isfinite().all()


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_same_generator_same_masks(seed):
    score = torch.rand(4, 21, generator=rng(seed))
    draws = [
        lambda g: masks.sample_visible(score, generator=g),
        lambda g: masks.drop_joints((4, 21), 0.3, g),
        lambda g: masks.drop_region(HAND, (4,), 1, g),
        lambda g: masks.drop_set(RemovalSets.by_level(HAND), (4,), g),
        lambda g: masks.stratified_levels(4, 21, g),
    ]
    for draw in draws:
        assert torch.equal(draw(rng(seed)), draw(rng(seed)))


@pytest.mark.parametrize("bad", [-0.1, 1.1, torch.nan])
@pytest.mark.parametrize(
    "choose", [masks.soft_gate, masks.sample_visible, lambda s: masks.keep_confident(s, 0.5)]
)
def test_scores_that_are_no_probabilities_are_refused(choose, bad):
    with pytest.raises(ValueError, match="expected probabilities"):
        choose(torch.tensor([0.5, bad]))


def test_invalid_arguments_raise():
    mask = torch.ones(2, 20, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"expected \[\*, 21\] for HAND, got \[2, 20\]"):
        masks.keep_always(mask, HAND, "wrist")
    with pytest.raises(ValueError, match="wist"):
        masks.keep_always(torch.ones(21), HAND, "wist")
    with pytest.raises(TypeError, match="mask as torch.bool, got torch.float32"):
        masks.cover(torch.ones(2, 21))
    with pytest.raises(ValueError, match=r"K draws, got \[0, 21\]"):
        masks.cover(mask[:0, :1].expand(0, 21))
    with pytest.raises(ValueError, match=r"shape \[2, 21\], got \[2, 20\]"):
        masks.average_draws(torch.ones(2, 21, 3), mask)
    with pytest.raises(ValueError, match="probability to be from 0 to 1, got 1.5"):
        masks.drop_joints((2, 21), 1.5)
    with pytest.raises(ValueError, match="hops to be at least 0, got -1"):
        masks.drop_region(HAND, (2,), -1)
    with pytest.raises(ValueError, match="num_draws to be at least 1, got 0"):
        masks.stratified_levels(0, 21)
