from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handgraph.metrics import visible_mean, visible_median

VALUES = torch.tensor([[1.0, 10.0, 7.0], [2.0, 20.0, 7.0], [6.0, 60.0, 7.0]])
VISIBLE = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 0]]).bool()


@pytest.mark.parametrize(
    ("average", "expected"),
    [("pooled", (1 + 2 + 6 + 10 + 60) / 5), ("joint", ((1 + 2 + 6) / 3 + (10 + 60) / 2) / 2)],
)
def test_by_hand(average, expected):
    assert visible_mean(VALUES, VISIBLE, average=average).item() == pytest.approx(expected)


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_mean_of_visible_joints_is_the_mean_if_all_are_visible(average):
    torch.testing.assert_close(visible_mean(VALUES, average=average), VALUES.mean())


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_hidden_nan_has_no_influence_and_visible_nan_shows(average):
    expected = visible_mean(VALUES, VISIBLE, average=average)
    hidden = torch.where(VISIBLE, VALUES, torch.nan)
    assert visible_mean(hidden, VISIBLE, average=average) == expected
    assert visible_mean(hidden, average=average).isnan()


@pytest.mark.parametrize("average", ["pooled", "joint"])
@pytest.mark.parametrize("shape", [(4, 21), (0, 21)])
def test_result_is_nan_without_visible_joints(average, shape):
    nothing = torch.zeros(shape, dtype=torch.bool)
    assert visible_mean(torch.ones(shape), nothing, average=average).isnan()


@given(seed=st.integers(0, 10**6), average=st.sampled_from(["pooled", "joint"]))
def test_between_the_extremes_and_blind_to_the_order_of_images(seed, average):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(7, 5, generator=rng, dtype=torch.float64)
    visible = torch.rand(7, 5, generator=rng) < 0.5
    visible[0, 0] = True
    mean = visible_mean(values, visible, average=average)
    assert values[visible].min() - 1e-12 <= mean <= values[visible].max() + 1e-12
    order = torch.randperm(7, generator=rng)
    torch.testing.assert_close(visible_mean(values[order], visible[order], average=average), mean)


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"values as float32 or float64, got torch.int64"):
        visible_mean(VALUES.long())
    with pytest.raises(ValueError, match=r"values of shape \[\*, J\], got \[\]"):
        visible_mean(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"\[3, 3\], got \[3\]"):
        visible_mean(VALUES, VISIBLE[0])
    with pytest.raises(TypeError, match=r"visible as torch.bool"):
        visible_mean(VALUES, VALUES)
    with pytest.raises(ValueError, match="one of pooled, joint, got 'mean'"):
        visible_mean(VALUES, average="mean")


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_median_is_numpys(count):
    values = torch.rand(count, 3, generator=torch.Generator().manual_seed(count))
    visible = torch.ones(count, 3, dtype=torch.bool)
    visible[0, 1] = False
    expected = np.median(values[visible].numpy())
    assert visible_median(values, visible).item() == pytest.approx(float(expected), rel=1e-6)
    values[0, 1] = torch.nan  # hidden
    assert not visible_median(values, visible).isnan()
    assert visible_median(values).isnan()
    assert visible_median(values, torch.zeros_like(visible)).isnan()
