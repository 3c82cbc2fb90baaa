from __future__ import annotations

import itertools

import pytest
import torch
from torch.testing import assert_close

from handgraph.metrics import ause, sparsification_curve


def draw(num_images=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shape = (num_images, 21)
    errors = torch.rand(shape, generator=rng, dtype=torch.float64)
    noise = torch.randn(shape, generator=rng, dtype=torch.float64)
    return errors, errors + 0.3 * noise, torch.rand(shape, generator=rng) < 0.6


def slow_curve(errors, uncertainty):
    pairs = sorted(zip(uncertainty.tolist(), errors.tolist(), strict=True))
    ordered = [error for _, error in pairs]
    means = [sum(ordered[: k + 1]) / (k + 1) for k in range(len(ordered))]
    return torch.tensor(means, dtype=errors.dtype) / errors.mean()


@pytest.mark.parametrize("seed", range(3))
def test_meets_a_slow_twin(seed):
    errors, uncertainty, visible = draw(seed=seed)
    curve = sparsification_curve(errors, uncertainty, visible)
    assert_close(curve, slow_curve(errors[visible], uncertainty[visible]))
    oracle = slow_curve(errors[visible], errors[visible])
    assert_close(ause(errors, uncertainty, visible), (curve - oracle).mean())


def test_ties_count_with_their_mean_over_all_orders():
    errors = torch.tensor([5.0, 1.0, 3.0, 0.0], dtype=torch.float64)
    uncertainty = torch.tensor([1.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    orders = [torch.tensor(order) for order in itertools.permutations([0.0, 0.1, 0.2])]
    broken = [uncertainty + torch.cat([o, torch.zeros(1)]) for o in orders]
    expected = torch.stack([slow_curve(errors, some) for some in broken]).mean(dim=0)
    assert_close(sparsification_curve(errors, uncertainty), expected)


def test_uniform_errors_have_known_areas():
    errors = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    assert ause(errors, 7 * errors**3 - 2).item() == 0  # only the order has an effect
    assert ause(errors, torch.ones_like(errors)).item() == pytest.approx(1 / 2, abs=1e-3)
    assert ause(errors, -errors).item() == pytest.approx(1, abs=1e-3)


def test_an_oracle_is_never_worse():
    for seed in range(5):
        errors, uncertainty, visible = draw(seed=seed)
        assert 0 < ause(errors, uncertainty, visible) < ause(errors, -errors, visible)


def test_values_of_hidden_joints_have_no_influence():
    errors, uncertainty, visible = draw()
    expected = ause(errors, uncertainty, visible)
    errors[~visible], uncertainty[~visible] = -1.0, torch.nan
    assert torch.equal(ause(errors, uncertainty, visible), expected)


def test_edges():
    ones, nothing = torch.ones(2, 21), torch.zeros(2, 21, dtype=torch.bool)
    assert sparsification_curve(ones, ones, nothing).shape == (0,)
    assert ause(ones, ones, nothing).isnan()
    assert ause(0 * ones, ones).isnan()
    assert sparsification_curve(ones, ones).dtype == torch.float32


def test_invalid_arguments_raise():
    ones = torch.ones(2, 21)
    nan = torch.full((2, 21), torch.nan)
    with pytest.raises(ValueError, match="got NaN in 42 of 42 errors at visible joints"):
        ause(nan, ones)
    with pytest.raises(ValueError, match="got NaN in 42 of 42 uncertainties"):
        ause(ones, nan)
    with pytest.raises(ValueError, match="expected errors of at least 0"):
        ause(-ones, ones)
    with pytest.raises(ValueError, match=r"expected uncertainty of shape \[2, 21\]"):
        ause(ones, ones[0])
    with pytest.raises(TypeError, match="visible as torch.bool"):
        ause(ones, ones, ones)
