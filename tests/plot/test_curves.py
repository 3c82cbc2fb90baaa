"""Curves show the values of the metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from handgraph.metrics import (
    Interval,
    bootstrap_pck,
    calibration_curve,
    pck_curve,
    sparsification_curve,
    thresholds,
)
from handgraph.plot import draw_calibration, draw_pck, draw_sparsification

GRID = thresholds(steps=11)
LEVELS = torch.linspace(0, 1, 6)
ERRORS = 0.05 * torch.rand(40, 21, generator=torch.Generator().manual_seed(0))


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_pck_is_drawn_over_millimetres():
    curve = pck_curve(ERRORS, GRID)
    ax = draw_pck({"a": curve, "b": curve**2}, GRID)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.linspace(0, 50, 11), rtol=1e-6)
    for line, expected in zip(ax.lines, (curve, curve**2), strict=True):
        assert line.get_ydata().tolist() == expected.tolist()
    assert names(ax) == ["a", "b"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_ylim()) == (
        "error threshold (mm)", "PCK", (0, 1)
    )  # fmt: skip


def test_interval_is_a_band_from_low_to_high():
    curve = bootstrap_pck(ERRORS, GRID, num_resamples=50)
    ax = draw_pck({"without": pck_curve(ERRORS, GRID), "with": curve}, GRID)
    (band,) = ax.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    for end in (curve.low, curve.high):
        ends = zip((1000 * GRID.double()).tolist(), end.double().tolist(), strict=True)
        assert corners >= set(ends)
    assert ax.lines[1].get_ydata().tolist() == curve.value.tolist()
    assert ax.lines[1].get_color() != ax.lines[0].get_color()
    assert ax.lines[1].get_linestyle() != ax.lines[0].get_linestyle()


def test_nan_is_a_gap():
    curve = pck_curve(ERRORS, GRID)
    curve[3] = torch.nan
    assert np.isnan(draw_pck({"a": curve}, GRID).lines[0].get_ydata()).nonzero()[0] == 3


def test_calibration_is_drawn_over_the_levels_and_a_diagonal():
    curve = calibration_curve(ERRORS, torch.full_like(ERRORS, 0.02), LEVELS)
    ax = draw_calibration({"net": curve}, LEVELS)
    drawn, diagonal = ax.lines
    assert drawn.get_xdata().tolist() == LEVELS.tolist()
    assert drawn.get_ydata().tolist() == curve.tolist()
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert names(ax) == ["net"]


def test_calibration_takes_intervals():
    band = Interval(LEVELS, LEVELS / 2, LEVELS)
    assert len(draw_calibration({"net": band}, LEVELS).collections) == 1


def test_sparsification_is_drawn_over_the_share_of_joints():
    oracle, few = (sparsification_curve(e, e) for e in (ERRORS, ERRORS[:1]))
    ax = draw_sparsification({"all": oracle, "few": few})
    assert ax.lines[0].get_ydata().tolist() == oracle.tolist()
    assert ax.lines[1].get_xdata().tolist() == pytest.approx([(k + 1) / 21 for k in range(21)])
    assert set(ax.lines[2].get_ydata()) == {1}
    assert names(ax) == ["all", "few"]


def test_draws_on_the_axes_that_it_is_given():
    ax = Figure().add_subplot()
    assert draw_pck({"a": GRID}, GRID, ax=ax) is ax
    assert draw_calibration({"a": LEVELS}, LEVELS, ax=ax) is ax
    assert draw_sparsification({"a": LEVELS}, ax=ax) is ax


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: draw_pck({}, GRID), ValueError, "at least one curve"),
        (lambda: draw_calibration({}, LEVELS), ValueError, "at least one curve"),
        (lambda: draw_sparsification({}), ValueError, "at least one curve"),
        (lambda: draw_pck({"net": GRID[1:]}, GRID), ValueError, r"net of shape \[11\].*\[10\]"),
        (lambda: draw_pck({"net": GRID}, GRID[None]), ValueError, r"thresholds .*\[1, 11\]"),
        (lambda: draw_pck({"net": [0.0]}, GRID), TypeError, "net as torch.Tensor, got list"),
        (lambda: draw_pck({"net": GRID}, [0.0]), TypeError, "thresholds as torch.Tensor"),
        (lambda: draw_sparsification({"net": LEVELS[None]}), ValueError, r"net .*\[1, 6\]"),
        (
            lambda: draw_pck({"net": GRID}, GRID, ax=Figure().add_subplot(projection="3d")),
            ValueError,
            "2D axes",
        ),
    ],
)
def test_refuses(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
