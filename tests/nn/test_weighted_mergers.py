"""Weights and spread of the averaging mergers, and properties of the parameter-free ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import (
    ConsistencyMerger,
    GatedMerger,
    MeanMerger,
    PrecisionMerger,
    SubgraphMask,
    WeightedMerger,
)
from handgraph.testing import assert_compiles

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "nothing": ()})
PAIR = RemovalSets.none(Skeleton.edgeless(1), 2)  # one joint, two hypotheses
THREE = RemovalSets.none(Skeleton.edgeless(1), 3)
IN_CHANNELS = {"mean": 2, "gate": 2, "consistency": 2, "precision": 4, "shared": 3}
by_kind = pytest.mark.parametrize("kind", IN_CHANNELS)
by_removal = pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])


def build(kind, removal):
    """Build a merger for poses of 2 channels, with a perturbed gate."""
    classes = {"mean": MeanMerger, "gate": GatedMerger, "consistency": ConsistencyMerger}
    merge = classes.get(kind, PrecisionMerger)(IN_CHANNELS[kind], 2, removal)
    with torch.no_grad():
        for parameter in merge.parameters():
            parameter.add_(torch.rand_like(parameter) - 0.4)
    return merge.double()


def poses(removal, channels, lead=(3,)):
    shape = (*lead, len(removal), removal.num_nodes, channels)
    return torch.randn(shape, dtype=torch.float64)


def mask_for(removal, lead=(3,)):
    """Draw about two thirds of the hypotheses; the first sample has none of the wrist."""
    mask = torch.rand(*lead, len(removal), removal.num_nodes) < 0.7
    for n in range(len(removal)):
        if removal.keep_mask[n, HAND.index("wrist")]:
            mask[0, n, removal.position[n, HAND.index("wrist")]] = False
    return mask


def by_joint(removal, nodes, mask):
    """Return the values at the present nodes of each joint, for one sample."""
    lists = [[] for _ in removal.skeleton.joints]
    for n, kept in enumerate(removal.kept.tolist()):
        for k, joint in enumerate(kept):
            if joint >= 0 and mask[n, k]:
                lists[joint].append(nodes[n, k])
    return lists


# Weights


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@by_removal
@by_kind
def test_weights_sum_to_one_and_average_to_the_pose(kind, removal, masked):
    merge, partial = build(kind, removal), poses(removal, IN_CHANNELS[kind])
    mask = mask_for(removal) if masked else None
    pose, weights = merge(partial, node_mask=mask, return_weights=True)
    assert_close(pose, merge(partial, node_mask=mask), rtol=0, atol=0, equal_nan=True)
    assert weights.shape == (3, *removal.kept.shape, *([2] if kind == "precision" else []))
    weights = weights.reshape(3, *removal.kept.shape, -1)
    there = removal.node_mask if mask is None else removal.node_mask & mask
    assert (weights[~there.expand(weights.shape[:-1])] == 0).all()
    mask = torch.ones(weights.shape[:-1], dtype=torch.bool) if mask is None else mask
    for b in range(3):
        shares = by_joint(removal, weights[b], mask[b])
        said = by_joint(removal, partial[b, ..., :2], mask[b])
        for j, (mine, values) in enumerate(zip(shares, said, strict=True)):
            if not mine:
                assert pose[b, j].isnan().all()
                continue
            assert_close(sum(mine), torch.ones_like(mine[0]))
            assert_close(sum(w * x for w, x in zip(mine, values, strict=True)), pose[b, j])


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@by_removal
@by_kind
def test_spread_is_the_weighted_standard_deviation(kind, removal, masked):
    merge, partial = build(kind, removal), poses(removal, IN_CHANNELS[kind])
    mask = mask_for(removal) if masked else torch.ones(3, *removal.kept.shape, dtype=torch.bool)
    given_mask = mask if masked else None
    pose, weights = merge(partial, node_mask=given_mask, return_weights=True)
    spread = merge.spread(partial, weights, node_mask=given_mask)
    weights = weights.reshape(3, *removal.kept.shape, -1)
    for b in range(3):
        shares = by_joint(removal, weights[b], mask[b])
        said = by_joint(removal, partial[b, ..., :2], mask[b])
        for j, (mine, values) in enumerate(zip(shares, said, strict=True)):
            pairs = zip(mine, values, strict=True)
            variance = sum(w * (x - pose[b, j]) ** 2 for w, x in pairs) if mine else math.nan
            assert_close(spread[b, j], torch.as_tensor(variance).expand(2).sqrt().to(spread),
                         atol=1e-7, rtol=1e-7, equal_nan=True)  # fmt: skip


def test_spread_of_the_mean_is_that_of_torch():
    partial = poses(THREE, 2)
    _, weights = MeanMerger(2, 2, THREE)(partial, return_weights=True)
    expected = partial.std(dim=1, correction=0)
    assert_close(MeanMerger(2, 2, THREE).spread(partial, weights), expected)


def test_spread_has_no_nan_gradient_where_all_agree():
    merge = MeanMerger(2, 2, LEVELS)
    partial = torch.full((3, 4, 16, 2), 0.5, requires_grad=True)
    _, weights = merge(partial, return_weights=True)
    spread = merge.spread(partial, weights)
    spread.sum().backward()
    assert (spread == 0).all()
    assert (partial.grad == 0).all()


@by_kind
def test_nan_at_missing_hypotheses_reaches_neither_pose_nor_spread(kind):
    merge, mask = build(kind, LEVELS), mask_for(LEVELS)
    partial = poses(LEVELS, IN_CHANNELS[kind])
    poisoned = partial.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    results = []
    for x in (poisoned, partial):
        pose, weights = merge(x, node_mask=mask, return_weights=True)
        results.append((pose, weights, merge.spread(x, weights, node_mask=mask)))
    assert_close(results[0], results[1], rtol=0, atol=0, equal_nan=True)
    for result in (results[0][0], results[0][2]):
        (gradient,) = torch.autograd.grad(result.nansum(), poisoned, retain_graph=True)
        assert (gradient[~mask] == 0).all()
        assert gradient.isfinite().all()
        assert (gradient[mask] != 0).any()


@by_kind
def test_nan_of_an_unmasked_node_reaches_the_spread(kind):
    merge, partial = build(kind, LEVELS), poses(LEVELS, IN_CHANNELS[kind])
    _, weights = merge(partial, return_weights=True)
    partial[1, 0, LEVELS.position[0, HAND.index("ring_mcp")], 0] = torch.nan
    spread = merge.spread(partial, weights)
    assert spread[1, HAND.index("ring_mcp"), 0].isnan()
    assert spread.isnan().sum() == 1


@pytest.mark.parametrize("lead", [(), (0,), (2, 3)])
@by_kind
def test_weights_and_spread_have_any_leading_dimensions(kind, lead):
    merge, partial = build(kind, RAGGED), poses(RAGGED, IN_CHANNELS[kind], lead)
    pose, weights = merge(partial, return_weights=True)
    assert pose.shape == merge.spread(partial, weights).shape == (*lead, 21, 2)
    assert weights.shape[: len(lead) + 2] == partial.shape[:-1]


def test_weights_of_another_shape_are_errors():
    partial = torch.ones(3, 4, 16, 2)
    for shape in [(3, 4, 16, 1), (4, 16), (3, 4, 16, 3)]:
        with pytest.raises(
            ValueError, match=r"weights of .* of shape \[3, 4, 16\] for Rem.*got \["
        ):
            MeanMerger(2, 2, LEVELS).spread(partial, torch.ones(shape))


def test_custom_weights_are_normalised():
    class FirstChannel(WeightedMerger):
        def weigh(self, listed, feature):
            return listed.values[..., :1]

    partial = torch.tensor([[[2.0, 7.0]], [[6.0, 3.0]]])
    pose, weights = FirstChannel(2, 2, PAIR)(partial, return_weights=True)
    assert_close(weights, torch.tensor([[0.25], [0.75]]))
    assert_close(pose, torch.tensor([[5.0, 4.0]]))


@by_kind
def test_compiled_weights_and_spread_equal_eager(kind):
    merge, partial = build(kind, RAGGED), poses(RAGGED, IN_CHANNELS[kind])
    mask = mask_for(RAGGED)

    def everything(partial):
        pose, weights = merge(partial, node_mask=mask, return_weights=True)
        return pose, weights, merge.spread(partial, weights, node_mask=mask)

    assert_compiles(everything, partial)


# Agreement


def test_outlier_has_a_small_weight():
    partial = torch.tensor([0.0, 0.01, 50.0]).reshape(3, 1, 1)
    pose, weights = ConsistencyMerger(1, 1, THREE)(partial, return_weights=True)
    assert weights[2].item() < 1e-6
    assert pose.item() == pytest.approx(0.005, abs=1e-3)


def test_of_two_hypotheses_each_has_half():
    _, weights = ConsistencyMerger(2, 2, PAIR)(10 * poses(PAIR, 2), return_weights=True)
    assert_close(weights, torch.full_like(weights, 0.5))


def test_a_large_temperature_gives_the_mean():
    partial, mask = poses(LEVELS, 2), mask_for(LEVELS)
    merge = ConsistencyMerger(2, 2, LEVELS, temperature=1e9)
    expected = MeanMerger(2, 2, LEVELS)(partial, node_mask=mask)
    assert_close(merge(partial, node_mask=mask), expected, equal_nan=True)


def test_agreement_by_hand():
    partial = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.6, 16.0]], dtype=torch.float64)
    merge = ConsistencyMerger(2, 2, THREE, temperature=(0.1, 2.0)).double()
    _, weights = merge(partial.reshape(3, 1, 2), return_weights=True)
    # from the mean of the others: (0.3, 8) or (0.6, 16), in temperatures (3, 4) or (6, 8)
    expected = torch.tensor([-5.0, -5.0, -10.0], dtype=torch.float64).softmax(dim=0)
    assert_close(weights.flatten(), expected)


@given(st.floats(0.01, 100), st.floats(-5, 5))
def test_agreement_is_invariant_to_unit_and_origin(unit, shift):
    partial = poses(THREE, 2)
    merge = ConsistencyMerger(2, 2, THREE, temperature=(0.5, 0.7)).double()
    scaled = ConsistencyMerger(2, 2, THREE, temperature=(0.5 * unit, 0.7)).double()
    moved = partial.clone()
    moved[..., 0] = unit * partial[..., 0] + shift
    expected = merge(partial)
    expected[..., 0] = unit * expected[..., 0] + shift
    assert_close(scaled(moved), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, (), (1.0, 1.0, 1.0), (1, 0)])
def test_invalid_temperatures_raise(temperature):
    with pytest.raises(ValueError, match="expected one positive, finite temperature, or 2"):
        ConsistencyMerger(2, 2, LEVELS, temperature=temperature)


# Precision


@pytest.mark.parametrize("scales", [1, 2], ids=["shared", "each"])
@by_removal
def test_precision_merger_equals_a_slow_reference(removal, scales):
    merge, partial = PrecisionMerger(2 + scales, 2, removal), poses(removal, 2 + scales)
    for mask in (None, mask_for(removal)):
        pose, log_scale = merge(partial, node_mask=mask), merge.log_scale(partial, node_mask=mask)
        assert log_scale.shape == (3, 21, scales)
        there = torch.ones(3, *removal.kept.shape, dtype=torch.bool) if mask is None else mask
        for b in range(3):
            for j, said in enumerate(by_joint(removal, partial[b], there[b])):
                if not said:
                    assert pose[b, j].isnan().all()
                    assert log_scale[b, j].isnan().all()
                    continue
                points, logs = torch.stack(said).split([2, scales], dim=-1)
                precision = 1 / logs.exp() ** 2
                expected = (precision * points).sum(dim=0) / precision.sum(dim=0)
                assert_close(pose[b, j], expected)
                assert_close(log_scale[b, j].exp() ** -2, precision.sum(dim=0))


def test_no_other_average_has_a_smaller_variance():
    """For independent errors of known scales, the predicted variance is correct and minimal."""
    scales = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    partial = torch.stack([torch.zeros(3), scales.log()], dim=-1).reshape(3, 1, 2)
    merge = PrecisionMerger(2, 1, THREE)
    _, weights = merge(partial, return_weights=True)
    best = (weights.flatten() * scales).square().sum()
    assert_close(best, merge.log_scale(partial).exp().square().sum())
    others = torch.rand(1000, 3, dtype=torch.float64)
    others /= others.sum(dim=-1, keepdim=True)
    assert ((others * scales).square().sum(dim=-1) >= best).all()


def test_merged_scale_is_that_of_independent_errors():
    scales = torch.tensor([0.5, 1.0, 2.0])
    errors = torch.distributions.Laplace(torch.zeros(3), scales).sample((200_000,))
    partial = torch.stack([errors, scales.log().expand_as(errors)], dim=-1).unsqueeze(2)
    merge = PrecisionMerger(2, 1, THREE)
    promised = 2 * (2 * merge.log_scale(partial)[0]).exp()  # the variance of Laplace is 2 b^2
    assert_close(merge(partial).var(dim=0), promised, rtol=0.02, atol=0)


def test_equal_scales_give_the_mean():
    partial = poses(LEVELS, 3)
    partial[..., 2] = 0.3
    assert_close(PrecisionMerger(3, 2, LEVELS)(partial), MeanMerger(2, 2, LEVELS)(partial[..., :2]))
    expected = 0.3 - torch.tensor([4.0] + [3.0] * 20).log() / 2
    assert_close(PrecisionMerger(3, 2, LEVELS).log_scale(partial)[0, :, 0], expected.double())


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_extreme_scales_do_not_overflow(shift):
    partial = poses(LEVELS, 4).float()
    moved = partial + torch.tensor([0.0, 0.0, shift, shift])
    moved.requires_grad_()
    merge = PrecisionMerger(4, 2, LEVELS)
    assert_close(merge(moved), merge(partial), rtol=1e-3, atol=1e-3)
    assert_close(merge.log_scale(moved), merge.log_scale(partial) + shift)
    (merge(moved).sum() + merge.log_scale(moved).sum()).backward()
    assert moved.grad.isfinite().all()


def test_infinite_scale_gives_no_weight():
    partial = poses(PAIR, 2)
    partial[:, 1, :, 1] = torch.inf
    pose, weights = PrecisionMerger(2, 1, PAIR)(partial, return_weights=True)
    assert torch.equal(pose, partial[:, 0, :, :1])
    assert torch.equal(weights[:, 1], torch.zeros_like(weights[:, 1]))
    partial[:, 0, :, 1] = torch.inf
    assert PrecisionMerger(2, 1, PAIR)(partial).isnan().all()


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_gradcheck_of_precision(masked):
    partial = poses(THREE, 4, (2,)).requires_grad_()
    mask = torch.tensor([[[True], [False], [True]], [[False]] * 3]) if masked else None
    merge = PrecisionMerger(4, 2, THREE)

    def call(partial):
        return (
            merge(partial, node_mask=mask).nan_to_num(),
            merge.log_scale(partial, node_mask=mask).nan_to_num(),
        )

    assert gradcheck(call, (partial,))


def test_log_scale_of_a_masked_batch_passes_no_nan():
    mask = mask_for(LEVELS)
    partial = poses(LEVELS, 4).masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    PrecisionMerger(4, 2, LEVELS).log_scale(partial, node_mask=mask).nansum().backward()
    assert (partial.grad[~mask] == 0).all()
    assert partial.grad.isfinite().all()


def test_equal_hypotheses_are_returned():
    pose = torch.randn(5, 21, 2)
    partial = torch.cat([SubgraphMask(LEVELS)(pose), torch.randn(5, 4, 16, 2)], dim=-1)
    assert_close(PrecisionMerger(4, 2, LEVELS)(partial), pose)


def test_compiled_log_scale_equals_eager():
    assert_compiles(PrecisionMerger(4, 2, LEVELS).log_scale, poses(LEVELS, 4))


@pytest.mark.parametrize("channels", [2, 5, 7])
def test_channels_without_their_scales_are_errors(channels):
    message = rf"expected in_channels of 3 \+ 3 .* or 3 \+ 1 \(one for all\), got {channels}"
    with pytest.raises(ValueError, match=message):
        PrecisionMerger(channels, 3, LEVELS)


def test_precision_merger_rejects_features_and_other_shapes():
    with pytest.raises(ValueError, match="PrecisionMerger: expected feature_channels=0"):
        PrecisionMerger(4, 2, LEVELS, feature_channels=3)
    merge = PrecisionMerger(4, 2, LEVELS)
    for call in (merge, merge.log_scale):
        with pytest.raises(ValueError, match=r"partial of .*: expected \[\*, 4, 16, 4\]"):
            call(torch.ones(3, 4, 16, 2))
        with pytest.raises(TypeError, match="node_mask of PrecisionMerger as torch.bool"):
            call(torch.ones(3, 4, 16, 4), node_mask=torch.ones(3, 4, 16))
    assert repr(merge).startswith("PrecisionMerger(4, 2, RemovalSets(HAND")
