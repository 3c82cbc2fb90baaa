from __future__ import annotations

import pytest
import torch

from handgraph.metrics import auc, bootstrap_interval, bootstrap_pck, joint_auc, pck_curve

GRID = torch.linspace(0, 1, 9, dtype=torch.float64)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(num_images=40):
    errors = torch.rand(num_images, 21, generator=rng(), dtype=torch.float64)
    return errors, torch.rand(num_images, 21, generator=rng(1)) < 0.5


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_each_threshold_has_the_interval_of_its_hits(level):
    errors, visible = draw()
    curve = bootstrap_pck(errors, GRID, visible, level=level, num_resamples=120, generator=rng(5))
    for t, threshold in enumerate(GRID):
        hits = (errors <= threshold).double()
        expected = bootstrap_interval(
            hits, visible, level=level, num_resamples=120, generator=rng(5)
        )
        torch.testing.assert_close(torch.stack([part[t] for part in curve]), torch.stack(expected))


def test_value_is_the_pck_curve():
    errors, visible = draw()
    curve = bootstrap_pck(errors, GRID, visible, num_resamples=5)
    torch.testing.assert_close(curve.value, pck_curve(errors, GRID, visible))
    area = auc(curve.value, GRID)
    torch.testing.assert_close(area, joint_auc(errors, GRID, visible)[visible].mean())


def test_leading_dimensions_count_images():
    errors, visible = draw()
    flat = bootstrap_pck(errors, GRID, visible, generator=rng())
    deep = bootstrap_pck(
        errors.reshape(4, 10, 21), GRID, visible.reshape(4, 10, 21), generator=rng()
    )
    assert all(torch.equal(one, other) for one, other in zip(flat, deep, strict=True))


def test_keeps_the_dtype():
    curve = bootstrap_pck(draw()[0].float(), GRID.float(), num_resamples=3)
    assert {part.dtype for part in curve} == {torch.float32}


def test_nan_counts_as_a_miss_on_request():
    errors, _ = draw()
    errors[3, 4] = torch.nan
    missed = bootstrap_pck(errors, GRID, nan="miss", generator=rng())
    errors[3, 4] = 2.0
    beyond = bootstrap_pck(errors, GRID, generator=rng())
    assert all(torch.equal(one, other) for one, other in zip(missed, beyond, strict=True))


def test_result_is_nan_without_visible_joints():
    errors, visible = draw()
    curve = bootstrap_pck(errors, GRID, torch.zeros_like(visible), num_resamples=3)
    assert torch.stack(curve).isnan().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"level": 1.0}, ValueError, "level between 0 and 1"),
        ({"num_resamples": 0}, ValueError, "num_resamples"),
        ({"num_resamples": 2.0}, TypeError, "num_resamples"),
        ({"visible": torch.ones(40, 20, dtype=torch.bool)}, ValueError, r"\[40, 21\].*\[40, 20\]"),
        ({"thresholds": GRID.flip(0)}, ValueError, "increasing"),
        ({"errors": torch.full((40, 21), torch.nan).double()}, ValueError, "NaN"),
        ({"errors": torch.zeros(0, 21).double()}, ValueError, "expected"),
        ({"nan": "drop"}, ValueError, "nan"),
    ],
)
def test_refuses(change, error, message):
    options = {"errors": draw()[0], "thresholds": GRID, "num_resamples": 3} | change
    with pytest.raises(error, match=message):
        bootstrap_pck(**options)


def test_value_is_as_exact_as_the_errors():
    errors = torch.arange(3.0, dtype=torch.float64).unsqueeze(0)
    value, low, high = bootstrap_pck(errors, GRID[:1], num_resamples=5, generator=rng())
    assert value.item() == low.item() == high.item() == 1 / 3
