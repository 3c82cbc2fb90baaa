from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from handgraph.metrics import auc, joint_auc, pck_counts, pck_curve, thresholds, visible_mean

ERRORS = torch.tensor([[0.01, 0.02], [0.03, 0.06]])
NAN = float("nan")


def draw(seed=0, num_images=40, num_joints=21):
    rng = torch.Generator().manual_seed(seed)
    errors = 0.03 * torch.randn(num_images, num_joints, generator=rng, dtype=torch.float64).abs()
    visible = torch.rand(num_images, num_joints, generator=rng) < 0.6
    visible[:, 3] = False  # a joint that is never measured
    return errors, visible


def zimmermann(errors, visible, low, high, steps, average):
    """Compute the protocol of hand3d with loops: the mean of each keypoint's curve, or pooled."""
    grid = np.linspace(low, high, steps)
    lists = [[] for _ in range(errors.shape[1])]
    for i in range(errors.shape[0]):
        for j in range(errors.shape[1]):
            if visible[i, j]:
                lists[j].append(errors[i, j])
    if average == "pooled":
        lists = [[error for one in lists for error in one]]
    curves, areas = [], []
    for one in lists:
        if len(one) == 0:
            continue
        curve = [sum(error <= t for error in one) / len(one) for t in grid]
        area = 0.0
        for k in range(1, steps):
            area += (curve[k] + curve[k - 1]) / 2 * (grid[k] - grid[k - 1])
        curves.append(curve)
        areas.append(area / (high - low))
    return np.mean(curves, axis=0), np.mean(areas)


@pytest.mark.parametrize("average", ["pooled", "joint"])
@pytest.mark.parametrize(
    ("low", "high", "steps"), [(0.0, 0.05, 20), (0.0, 0.05, 100), (0.02, 0.05, 20), (0, 0.03, 2)]
)
@pytest.mark.parametrize("seed", range(3))
def test_matches_the_protocol_of_hand3d(seed, low, high, steps, average):
    errors, visible = draw(seed)
    grid = thresholds(high, steps, low, dtype=torch.float64)
    curve, area = zimmermann(errors.numpy(), visible.numpy(), low, high, steps, average)
    ours = pck_curve(errors, grid, visible, average=average)
    np.testing.assert_allclose(ours.numpy(), curve, rtol=0, atol=1e-12)
    assert auc(ours, grid).item() == pytest.approx(area, abs=1e-12)


def test_pooling_and_averaging_differ():
    errors, visible = draw()
    pooled, joint = (
        pck_curve(errors, thresholds(), visible, average=a) for a in ("pooled", "joint")
    )
    assert (pooled - joint).abs().max() > 1e-3


def test_thresholds_by_hand():
    assert thresholds().shape == (20,)
    np.testing.assert_allclose(thresholds().numpy(), np.linspace(0, 0.05, 20), rtol=1e-6)
    assert thresholds(0.05, 4, 0.02, dtype=torch.float64).tolist() == pytest.approx(
        [0.02, 0.03, 0.04, 0.05], abs=1e-17
    )
    assert thresholds(dtype=torch.float64).dtype == torch.float64
    assert thresholds(device="meta").device.type == "meta"


@pytest.mark.parametrize(
    ("args", "error", "match"),
    [
        ((0.05, 1), ValueError, "steps to be at least 2, got 1"),
        ((0.05, 20.0), TypeError, "steps as int, got float"),
        ((0.05, True), TypeError, "steps as int, got bool"),
        ((0.02, 20, 0.02), ValueError, "low=0.02, high=0.02"),
        ((0.05, 20, -0.01), ValueError, "0 <= low"),
        ((float("inf"),), ValueError, "high=inf"),
        ((NAN,), ValueError, "high=nan"),
    ],
)
def test_wrong_thresholds_arguments(args, error, match):
    with pytest.raises(error, match=match):
        thresholds(*args)


def test_curve_by_hand():
    grid = torch.tensor([0.005, 0.01, 0.025, 0.05])
    assert pck_curve(ERRORS, grid).tolist() == [0.0, 0.25, 0.5, 0.75]
    visible = torch.tensor([[True, True], [True, False]])
    assert pck_curve(ERRORS, grid, visible, average="joint").tolist() == [0.0, 0.25, 0.75, 1.0]
    third = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])
    torch.testing.assert_close(pck_curve(ERRORS, grid, visible), third)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid_dtype", [torch.float32, torch.float64])
def test_an_error_at_the_threshold_is_correct(dtype, grid_dtype):
    grid = torch.tensor([0.25, 0.5], dtype=grid_dtype)
    errors = torch.tensor([0.25, 0.5], dtype=dtype)
    assert pck_curve(errors, grid).tolist() == [0.5, 1.0]
    assert joint_auc(errors, grid).tolist() == [1.0, 0.5]
    assert pck_curve(errors, grid).dtype == joint_auc(errors, grid).dtype == dtype


def test_float32_errors_meet_float64_thresholds_in_float32():
    errors = torch.tensor([0.05])
    assert errors.double() > 0.05
    grid = torch.tensor([0.0, 0.05], dtype=torch.float64)
    assert pck_curve(errors, grid).tolist() == [0.0, 1.0]
    assert joint_auc(errors, grid).tolist() == [0.5]


def test_counts_of_batches_add_up():
    errors, visible = draw()
    whole = pck_counts(errors, thresholds(), visible)
    parts = [
        pck_counts(errors[i : i + 10], thresholds(), visible[i : i + 10]) for i in range(0, 40, 10)
    ]
    for all_of_it, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(all_of_it, sum(pieces))


def test_no_visible_joint_is_nan():
    hidden = torch.zeros(4, 21, dtype=torch.bool)
    for average in ("pooled", "joint"):
        curve = pck_curve(torch.zeros(4, 21), thresholds(), hidden, average=average)
        assert curve.isnan().all()
        assert auc(curve, thresholds()).isnan()
    assert joint_auc(torch.zeros(4, 21), thresholds(), hidden).isnan().all()


def test_empty_batch_is_nan():
    assert pck_curve(torch.zeros(0, 21), thresholds()).isnan().all()
    assert joint_auc(torch.zeros(0, 21), thresholds()).shape == (0, 21)


@pytest.mark.parametrize("function", [pck_counts, pck_curve, joint_auc])
def test_nan_at_a_visible_joint_raises(function):
    errors = torch.tensor([[NAN, 0.01], [NAN, 0.02]])
    visible = torch.tensor([[True, True], [False, True]])
    with pytest.raises(ValueError, match="NaN at 1 of 3 visible joints"):
        function(errors, thresholds(), visible)


def test_nan_counts_as_a_miss_on_request():
    errors = torch.tensor([NAN, 0.0, 0.0, 0.0])
    assert pck_curve(errors, thresholds(), nan="miss").tolist() == [0.75] * 20
    assert joint_auc(errors, thresholds(), nan="miss").tolist() == pytest.approx(
        [0.0, 1.0, 1.0, 1.0]
    )
    _, counts = pck_counts(errors, thresholds(), nan="miss")
    assert counts.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("hidden", [torch.nan, -1.0, torch.inf])
@pytest.mark.parametrize("nan", ["raise", "miss"])
def test_hidden_joints_have_no_influence(nan, hidden):
    errors, visible = draw()
    spoilt = torch.where(visible, errors, hidden)
    for function in (pck_curve, joint_auc):
        torch.testing.assert_close(
            function(spoilt, thresholds(), visible, nan=nan),
            function(errors, thresholds(), visible),
            equal_nan=True,
        )


def test_infinite_errors_miss():
    assert pck_curve(torch.tensor([float("inf"), 0.0]), thresholds()).tolist() == [0.5] * 20
    assert joint_auc(torch.tensor([float("inf")]), thresholds()).tolist() == [0.0]


def test_auc_by_hand():
    grid = torch.tensor([0.02, 0.03, 0.05])
    curves = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [NAN, 1.0, 1.0]])
    areas = auc(curves, grid)
    torch.testing.assert_close(areas[:3], torch.tensor([(0.25 * 1 + 0.75 * 2) / 3, 1.0, 0.0]))
    assert areas[3].isnan()


def test_auc_of_uniform_errors_is_a_half():
    errors = torch.linspace(0, 0.05, 20 * 1000 + 1, dtype=torch.float64)
    grid = thresholds(dtype=torch.float64)
    assert auc(pck_curve(errors, grid), grid).item() == pytest.approx(0.5, abs=1e-4)


def test_auc_agrees_with_scipy():
    errors, visible = draw()
    grid = thresholds(0.05, 20, 0.02, dtype=torch.float64)
    curve = pck_curve(errors, grid, visible)
    expected = trapezoid(curve.numpy(), grid.numpy()) / 0.03
    assert auc(curve, grid).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_the_mean_of_single_areas_is_the_area_of_the_curve(average):
    errors, visible = draw()
    grid = thresholds(0.05, 20, 0.01, dtype=torch.float64)
    single = joint_auc(errors, grid, visible)
    assert torch.equal(single.isnan(), ~visible)
    torch.testing.assert_close(
        visible_mean(single, visible, average=average),
        auc(pck_curve(errors, grid, visible, average=average), grid),
    )


def test_leading_dimensions_and_strides_do_not_matter():
    errors, visible = draw()
    shaped = errors.reshape(2, 20, 21), visible.reshape(2, 20, 21)
    strided = tuple(x.transpose(0, 1).contiguous().transpose(0, 1) for x in shaped)
    for e, v in (shaped, strided):
        assert torch.equal(pck_curve(e, thresholds(), v), pck_curve(errors, thresholds(), visible))
        area = joint_auc(e, thresholds(), v).reshape(40, 21)
        torch.testing.assert_close(area, joint_auc(errors, thresholds(), visible), equal_nan=True)


@given(
    errors=st.lists(st.floats(0, 0.2), min_size=1, max_size=40),
    steps=st.integers(2, 30),
    low=st.floats(0, 0.04),
)
def test_curve_rises_and_area_is_a_share(errors, steps, low):
    errors = torch.tensor(errors, dtype=torch.float64)
    grid = thresholds(0.05, steps, low, dtype=torch.float64)
    curve = pck_curve(errors, grid)
    assert (curve.diff() >= 0).all()
    assert 0 <= curve[0] <= curve[-1] <= 1
    assert -1e-12 <= auc(curve, grid) <= 1 + 1e-12
    assert curve[0] - 1e-12 <= auc(curve, grid) <= curve[-1] + 1e-12


@given(seed=st.integers(0, 10**6), factor=st.floats(1, 10))
def test_larger_errors_never_score_higher(seed, factor):
    errors, visible = draw(seed, num_images=5)
    worse = pck_curve(factor * errors, thresholds(), visible)
    assert (worse <= pck_curve(errors, thresholds(), visible)).all()


@pytest.mark.parametrize("function", [pck_counts, pck_curve, joint_auc])
@pytest.mark.parametrize(
    ("errors", "grid", "visible", "error", "match"),
    [
        (
            ERRORS.long(),
            thresholds(),
            None,
            TypeError,
            "errors as float32 or float64, got torch.int64",
        ),
        (ERRORS.half(), thresholds(), None, TypeError, "got torch.float16"),
        (torch.tensor(0.1), thresholds(), None, ValueError, r"errors of shape \[\*, J\], got \[\]"),
        (-ERRORS, thresholds(), None, ValueError, "at least 0"),
        (ERRORS, torch.arange(20), None, TypeError, "thresholds as float32 or float64"),
        (ERRORS, thresholds()[None], None, ValueError, r"\[T\], T at least . on cpu|got \[1, 20\]"),
        (ERRORS, thresholds()[:0], None, ValueError, r"got \[0\]"),
        (ERRORS, thresholds().flip(0), None, ValueError, "increasing thresholds"),
        (ERRORS, torch.tensor([0.1, 0.1]), None, ValueError, "increasing thresholds"),
        (ERRORS, torch.tensor([0.1, NAN]), None, ValueError, "finite, increasing"),
        (ERRORS, torch.tensor([0.1, float("inf")]), None, ValueError, "finite, increasing"),
        (ERRORS, thresholds(), torch.ones(2, 2), TypeError, "visible as torch.bool"),
        (ERRORS, thresholds(), torch.ones(2).bool(), ValueError, r"\[2, 2\], got \[2\]"),
        (ERRORS, thresholds(device="meta"), None, ValueError, "on meta"),
    ],
)
def test_wrong_tensors(function, errors, grid, visible, error, match):
    with pytest.raises(error, match=match):
        function(errors, grid, visible)


def test_wrong_options():
    with pytest.raises(ValueError, match="average to be one of pooled, joint, got 'macro'"):
        pck_curve(ERRORS, thresholds(), average="macro")
    with pytest.raises(ValueError, match="nan to be one of raise, miss, got 'drop'"):
        pck_curve(ERRORS, thresholds(), nan="drop")


def test_wrong_auc_arguments():
    with pytest.raises(ValueError, match=r"\[\*, 20\], one value for each threshold, got \[19\]"):
        auc(torch.zeros(19), thresholds())
    with pytest.raises(ValueError, match="T at least 2"):
        auc(torch.zeros(1), torch.zeros(1))
    with pytest.raises(TypeError, match=r"pck as float32 or float64, got torch.int64"):
        auc(torch.zeros(20).long(), thresholds())
