from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from handgraph.metrics import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_means,
    visible_mean,
)

FUNCTIONS = [bootstrap_means, bootstrap_interval]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(num_images=50, seed=0, dtype=torch.float64):
    values = torch.rand(num_images, 21, generator=rng(seed), dtype=dtype)
    visible = torch.rand(num_images, 21, generator=rng(seed + 1)) < 0.5
    visible[:, 2] = False
    return values, visible


@pytest.mark.parametrize("average", ["pooled", "joint"])
@pytest.mark.parametrize("num_resamples", [1, 50, 73])
def test_matches_resampling_image_by_image(average, num_resamples):
    values, visible = draw()
    means = bootstrap_means(
        values, visible, average=average, num_resamples=num_resamples, generator=rng(5)
    )
    generator, expected = rng(5), []
    for start in range(0, num_resamples, 50):  # drawn in blocks of 50 resamples
        size = min(50, num_resamples - start)
        for images in torch.randint(50, (size, 50), generator=generator):
            expected.append(visible_mean(values[images], visible[images], average=average))
    torch.testing.assert_close(means, torch.stack(expected))


def test_spread_is_the_standard_error_of_the_mean():
    values = torch.randn(400, 21, generator=rng(), dtype=torch.float64)
    values = values + torch.randn(400, 1, generator=rng(1), dtype=torch.float64)  # image effect
    means = bootstrap_means(values, num_resamples=4000, generator=rng())
    expected = values.mean(-1).std() / 400**0.5
    assert means.std().item() == pytest.approx(expected.item(), rel=0.05)
    assert means.std() > 3 * values.std() / values.numel() ** 0.5  # joints are not independent
    assert means.mean().item() == pytest.approx(values.mean().item(), abs=0.1 * expected.item())


def test_interval_agrees_with_scipy():
    values, _ = draw(200)
    ours = bootstrap_interval(values, num_resamples=4000, generator=rng())
    theirs = stats.bootstrap(
        (values.mean(-1).numpy(),),
        np.mean,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low.item() == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high.item() == pytest.approx(theirs.high, abs=0.05 * width)


def test_interval_has_its_nominal_coverage():
    held = 0
    for seed in range(200):
        values = torch.rand(100, 3, generator=rng(seed))
        interval = bootstrap_interval(values, level=0.8, num_resamples=200, generator=rng(seed))
        held += bool(interval.low <= 0.5 <= interval.high)
    assert 140 <= held <= 180  # 160 expected, sd 5.7


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_interval_is_made_of_quantiles_around_the_value(average):
    values, visible = draw()
    interval = bootstrap_interval(values, visible, average=average, level=0.9, generator=rng())
    means = bootstrap_means(values, visible, average=average, generator=rng()).sort().values
    assert interval.value == visible_mean(values, visible, average=average)
    assert interval.low < interval.value < interval.high
    assert means[49] <= interval.low <= means[50]
    assert means[949] <= interval.high <= means[950]


def test_a_generator_repeats_and_moves_on():
    values, visible = draw()
    generator = rng(3)
    first, second = (bootstrap_means(values, visible, generator=generator) for _ in range(2))
    assert torch.equal(first, bootstrap_means(values, visible, generator=rng(3)))
    assert not torch.equal(first, second)


def test_default_generator_is_the_global_one():
    values, visible = draw()
    torch.manual_seed(1)
    first = bootstrap_means(values, visible)
    torch.manual_seed(1)
    assert torch.equal(first, bootstrap_means(values, visible))


def test_difference_is_paired():
    hard = torch.rand(300, 1, generator=rng(), dtype=torch.float64)  # errors common to both
    one = hard + 0.01 * torch.rand(300, 21, generator=rng(1), dtype=torch.float64)
    other = hard + 0.01 * torch.rand(300, 21, generator=rng(2), dtype=torch.float64) + 0.002
    interval = bootstrap_difference(one, other, generator=rng())
    assert interval.value.item() == pytest.approx((one - other).mean().item())
    assert interval.high < 0  # significant, although each interval alone is wide
    alone = bootstrap_interval(one, generator=rng())
    assert alone.high - alone.low > 20 * (interval.high - interval.low)


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_difference_scores_both_methods_on_the_same_images(average):
    one, visible = draw()
    other, _ = draw(seed=7)
    a, b = (bootstrap_means(x, visible, average=average, generator=rng(4)) for x in (one, other))
    expected = (a - b).quantile(torch.tensor([0.025, 0.975], dtype=a.dtype))
    interval = bootstrap_difference(one, other, visible, average=average, generator=rng(4))
    torch.testing.assert_close(torch.stack(interval[1:]), expected)
    swapped = bootstrap_difference(other, one, visible, average=average, generator=rng(4))
    torch.testing.assert_close(swapped.low, -interval.high)


def test_a_method_does_not_differ_from_itself():
    values, visible = draw()
    assert torch.stack(bootstrap_difference(values, values, visible)).tolist() == [0, 0, 0]


def test_hidden_nan_has_no_influence():
    values, visible = draw()
    spoilt = torch.where(visible, values, torch.nan)
    a, b = (bootstrap_interval(x, visible, generator=rng()) for x in (values, spoilt))
    assert a == b
    assert bootstrap_difference(spoilt, spoilt, visible).value == 0


@pytest.mark.parametrize("shape", [(0, 21), (4, 21)])
def test_result_is_nan_without_visible_joints(shape):
    interval = bootstrap_interval(torch.ones(shape), torch.zeros(shape, dtype=torch.bool))
    assert torch.stack(interval).isnan().all()


def test_resamples_without_a_visible_joint_show():
    visible = torch.tensor([[True], [False]])
    interval = bootstrap_interval(torch.ones(2, 1), visible, generator=rng())
    assert interval.value == 1
    assert interval.low.isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_leading_dimensions_count_images(dtype):
    values, visible = draw(dtype=dtype)
    means = bootstrap_means(values, visible, generator=rng())
    assert means.dtype == dtype
    shaped = bootstrap_means(values.reshape(5, 10, 21), visible.reshape(5, 10, 21), generator=rng())
    assert torch.equal(means, shaped)
    assert all(x.dtype == dtype for x in bootstrap_interval(values, visible))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("values", "kwargs", "error", "match"),
    [
        (torch.ones(4, 21).long(), {}, TypeError, "values as float32 or float64"),
        (torch.ones(4, 21), {"visible": torch.ones(21).bool()}, ValueError, r"got \[21\]"),
        (torch.ones(4, 21), {"visible": torch.ones(4, 21)}, TypeError, "visible as torch.bool"),
        (torch.full((4, 21), torch.nan), {}, ValueError, "finite values at visible joints"),
        (torch.full((4, 21), torch.inf), {}, ValueError, "finite values at visible joints"),
        (torch.ones(4, 21), {"average": "macro"}, ValueError, "got 'macro'"),
        (torch.ones(4, 21), {"num_resamples": 0}, ValueError, "num_resamples to be at least 1"),
        (torch.ones(4, 21), {"num_resamples": 1e3}, TypeError, "num_resamples as int, got float"),
    ],
)
def test_wrong_arguments(function, values, kwargs, error, match):
    with pytest.raises(error, match=match):
        function(values, **kwargs)


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
def test_wrong_level(level):
    with pytest.raises(ValueError, match=f"level between 0 and 1, got {level}"):
        bootstrap_interval(torch.ones(4, 21), level=level)


def test_wrong_pairs():
    with pytest.raises(ValueError, match=r"other of shape \[4, 21\], got \[1, 21\]"):
        bootstrap_difference(torch.ones(4, 21), torch.ones(1, 21))
    with pytest.raises(TypeError, match="other in the dtype of values"):
        bootstrap_difference(torch.ones(4, 21), torch.ones(4, 21).double())
