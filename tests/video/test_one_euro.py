"""The One-Euro filter against the algorithm of the paper."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph.video import OneEuro


def by_the_paper(values, times, min_cutoff, beta):
    """Compute Algorithm 1 of the paper, one number at a time."""
    out, before, speed, last = [], None, 0.0, None

    def alpha(cutoff, step):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / step)

    for x, time in zip(values, times, strict=True):
        if before is None:
            before, last = x, time
        else:
            step, last = time - last, time
            a = alpha(1.0, step)
            speed = a * (x - before) / step + (1 - a) * speed
            a = alpha(min_cutoff + beta * abs(speed), step)
            before = a * x + (1 - a) * before
        out.append(before)
    return out


def test_filter_is_the_paper_s():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, 2, 3, generator=rng, dtype=torch.float64).cumsum(dim=0)
    times = (0.01 + torch.rand(30, generator=rng)).cumsum(dim=0).tolist()
    smooth = OneEuro(0.7, 0.3)
    found = torch.stack([smooth(value, time) for value, time in zip(x, times, strict=True)])
    for i, j in np.ndindex(2, 3):
        expected = by_the_paper(x[:, i, j].tolist(), times, 0.7, 0.3)
        assert_close(found[:, i, j], torch.tensor(expected, dtype=torch.float64))


def test_constant_stays():
    smooth, x = OneEuro(), torch.tensor([3.0, -7.0])
    for i in range(5):
        assert torch.equal(smooth(x, i / 30), x)


def test_without_beta_a_step_is_answered_as_by_a_low_pass():
    smooth, step, cutoff = OneEuro(min_cutoff := 2.0, 0.0), 0.05, min_cutoff
    smooth(torch.tensor(0.0, dtype=torch.float64), 0.0)
    rest = 1 / (1 + 2 * math.pi * cutoff * step)  # what is left of the step after each value
    for i in range(1, 20):
        found = smooth(torch.tensor(1.0, dtype=torch.float64), i * step)
        assert found.item() == pytest.approx(1 - rest**i)


def test_beta_lags_less_behind_what_is_fast():
    slow, quick = OneEuro(1.0, 0.0), OneEuro(1.0, 1.0)
    for i in range(20):
        x = torch.tensor(10.0 * i)
        lag = [(x - smooth(x, i / 30)).item() for smooth in (slow, quick)]
    assert 0 < lag[1] < lag[0] / 5


def test_missing_values_stay_missing_and_start_anew():
    smooth = OneEuro()
    values = [[1.0, 1.0], [1.0, torch.nan], [1.0, 5.0], [1.0, 5.0]]
    found = [smooth(torch.tensor(x), i / 30).tolist() for i, x in enumerate(values)]
    assert math.isnan(found[1][1])
    assert found[2:] == values[2:]


def test_filter_says_what_it_takes():
    smooth = OneEuro()
    smooth(torch.zeros(1), 1.0)
    with pytest.raises(ValueError, match="expected a time after 1 s, got 1 s"):
        smooth(torch.zeros(1), 1.0)
    with pytest.raises(ValueError, match="min_cutoff > 0 and beta >= 0, got 0 and 1"):
        OneEuro(0.0, 1.0)
    with pytest.raises(ValueError, match="got 1 and -1"):
        OneEuro(1.0, -1.0)


def test_another_shape_or_type_is_refused():
    smooth = OneEuro()
    smooth(torch.zeros(2, 3), 0.0)
    with pytest.raises(ValueError, match=r"shape \[2, 3\], got \[3\]"):
        smooth(torch.zeros(3), 1.0)
    with pytest.raises(
        TypeError, match="in the dtype of the value before, torch.float32, got torch.float64"
    ):
        smooth(torch.zeros(2, 3, dtype=torch.float64), 1.0)
    with pytest.raises(TypeError, match="floating point"):
        OneEuro()(torch.zeros(2, dtype=torch.long), 0.0)
