from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Laplace
from torch.testing import assert_close

from handgraph.metrics import calibration_curve, expected_calibration_error, sharpness

LEVELS = torch.linspace(0, 1, 21, dtype=torch.float64)
EIGHTHS = torch.linspace(0, 1, 9, dtype=torch.float64)


def laplace(num_images=2000, seed=0):
    """Draw errors from distributions with the given scales, so that they are calibrated."""
    rng = torch.Generator().manual_seed(seed)
    scale = (2 * torch.randn(num_images, 21, generator=rng, dtype=torch.float64)).exp()
    uniform = torch.rand(num_images, 21, generator=rng, dtype=torch.float64)
    return Laplace(torch.zeros_like(scale), scale).icdf(uniform), scale


def slow_curve(residuals, scale, levels, visible):
    """Compute the share of errors within intervals between quantiles of the distribution."""
    shares = []
    for p in levels.tolist():
        inside = total = 0
        for e, b, v in zip(residuals.flatten(), scale.flatten(), visible.flatten(), strict=True):
            if v:
                ends = Laplace(0.0, b).icdf(torch.tensor([(1 - p) / 2, (1 + p) / 2]).to(b))
                inside += bool(ends[0] <= e <= ends[1])
                total += 1
        shares.append(inside / total)
    return torch.tensor(shares, dtype=residuals.dtype)


def test_meets_a_slow_twin():
    residuals, scale = laplace(5)
    visible = torch.rand(5, 21) < 0.6
    curve = calibration_curve(residuals, scale / 2, EIGHTHS, visible)
    assert_close(curve, slow_curve(residuals, scale / 2, EIGHTHS, visible))


@pytest.mark.parametrize("seed", range(3))
def test_calibrated_errors_lie_on_the_diagonal(seed):
    residuals, scale = laplace(seed=seed)
    curve = calibration_curve(residuals, scale, LEVELS)
    deviation = (LEVELS * (1 - LEVELS) / residuals.numel()).sqrt()  # of a binomial proportion
    assert ((curve - LEVELS).abs() <= 4 * deviation).all()
    assert expected_calibration_error(curve, LEVELS) < 0.005


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_a_wrong_factor_gives_a_known_curve(factor):
    residuals, scale = laplace()
    expected = 1 - (1 - LEVELS) ** factor
    deviation = (expected * (1 - expected) / residuals.numel()).sqrt()
    curve = calibration_curve(residuals, factor * scale, LEVELS)
    assert ((curve - expected).abs() <= 4 * deviation + 1e-12).all()


def test_curve_by_hand():
    scale = torch.ones(1, 4)
    residuals = torch.tensor([[-0.5, 1.0, -2.0, 9.0]])  # log 2 = 0.69, log 4 = 1.39
    levels = torch.tensor([0.0, 0.5, 0.75, 1.0])
    assert calibration_curve(residuals, scale, levels).tolist() == [0.0, 0.25, 0.5, 1.0]
    visible = torch.tensor([[False, True, True, False]])
    assert calibration_curve(residuals, scale, levels, visible).tolist() == [0.0, 0.0, 0.5, 1.0]
    assert calibration_curve(torch.zeros(1, 4), scale, levels).tolist() == [1.0] * 4


@given(st.floats(1e-3, 1e3))
def test_the_unit_cancels(unit):
    residuals, scale = laplace(20)
    curve = calibration_curve(residuals, scale, LEVELS)
    assert_close(calibration_curve(-unit * residuals, unit * scale, LEVELS), curve)


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_any_leading_dimensions_and_dtype(lead):
    residuals = torch.randn(*lead, 21)
    scale = torch.rand(*lead, 21) + 0.1
    curve = calibration_curve(residuals, scale, LEVELS)
    assert curve.dtype == torch.float32
    assert_close(curve, calibration_curve(residuals.flatten(), scale.flatten(), LEVELS))


def test_values_of_hidden_joints_have_no_influence():
    residuals, scale = laplace(50)
    visible = torch.rand(50, 21) < 0.5
    expected = calibration_curve(residuals, scale, LEVELS, visible)
    residuals[~visible], scale[~visible] = math.nan, -1.0
    assert torch.equal(calibration_curve(residuals, scale, LEVELS, visible), expected)


def test_result_is_nan_without_visible_joints():
    nothing = torch.zeros(2, 21, dtype=torch.bool)
    curve = calibration_curve(torch.ones(2, 21), torch.ones(2, 21), LEVELS, nothing)
    assert curve.isnan().all()
    assert expected_calibration_error(curve, LEVELS).isnan()
    assert sharpness(torch.ones(2, 21), nothing).isnan()


@pytest.mark.parametrize(
    ("residual", "scale", "levels", "error", "match"),
    [
        (math.nan, 1.0, [0.5], ValueError, "got NaN in 21 of 42 residuals and scales"),
        (1.0, math.nan, [0.5], ValueError, "got NaN in 21 of 42"),
        (1.0, 0.0, [0.5], ValueError, "expected positive scales"),
        (1.0, -1.0, [0.5], ValueError, "expected positive scales"),
        (1.0, 1.0, [0.5, 0.5], ValueError, "expected finite, increasing"),
        (1.0, 1.0, [-0.1, 0.5], ValueError, "expected levels from 0 to 1"),
        (1.0, 1.0, [0.5, 1.1], ValueError, "expected levels from 0 to 1"),
        (1.0, 1.0, [], ValueError, "T at least 1"),
    ],
)
def test_invalid_values_raise(residual, scale, levels, error, match):
    residuals, scales = torch.ones(2, 21), torch.ones(2, 21)
    residuals[1], scales[1] = residual, scale
    with pytest.raises(error, match=match):
        calibration_curve(residuals, scales, torch.tensor(levels))


def test_shapes_and_types_that_do_not_fit_are_errors():
    ones = torch.ones(2, 21)
    with pytest.raises(ValueError, match=r"expected scale of shape \[2, 21\]"):
        calibration_curve(ones, ones[0], LEVELS)
    with pytest.raises(TypeError, match=r"expected scale in the dtype of residuals"):
        calibration_curve(ones, ones.double(), LEVELS)
    with pytest.raises(TypeError, match="residuals as float32 or float64"):
        calibration_curve(ones.long(), ones.long(), LEVELS)
    with pytest.raises(TypeError, match="visible as torch.bool"):
        calibration_curve(ones, ones, LEVELS, ones)
    with pytest.raises(TypeError, match="levels as torch.Tensor, got list"):
        calibration_curve(ones, ones, [0.5])
    with pytest.raises(ValueError, match=r"coverage of shape \[\*, 21\].* got \[2, 20\]"):
        expected_calibration_error(torch.ones(2, 20), LEVELS)


def test_calibration_error_by_hand():
    levels = torch.tensor([0.25, 0.5, 0.75])
    coverage = torch.tensor([[0.25, 0.5, 0.75], [0.5, 0.5, 0.25]])
    assert expected_calibration_error(coverage, levels).tolist() == [0.0, 0.25]


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_calibration_error_is_the_area_from_the_diagonal(factor):
    levels = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    error = expected_calibration_error(1 - (1 - levels) ** factor, levels)
    assert error.item() == pytest.approx(abs(1 / 2 - 1 / (factor + 1)), abs=1e-4)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.99])
def test_sharpness_is_the_width_between_quantiles(level):
    _, scale = laplace(10)
    visible = torch.rand(10, 21) < 0.5
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    widths = torch.stack([Laplace(0.0, b).icdf(ends).diff() for b in scale[visible]])
    assert_close(sharpness(scale, visible, level=level), widths.mean())


@pytest.mark.parametrize("level", [0, 1, -0.5, math.nan])
def test_levels_outside_are_errors(level):
    with pytest.raises(ValueError, match="expected level between 0 and 1"):
        sharpness(torch.ones(21), level=level)
