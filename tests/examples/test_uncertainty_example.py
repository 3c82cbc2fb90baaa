"""The uncertainty example with small settings: its tables, its groups and its picture."""

from __future__ import annotations

import re

import pytest
import torch
from torch.testing import assert_close

from handgraph.metrics import calibration_curve, occlusion_groups
from tests.examples.running import run_example

NUMBER = re.compile(r"(-?\d+\.\d\d) \((\d+\.\d\d)\)")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the namespace of the script, its output, and the path of its picture."""
    picture = tmp_path_factory.mktemp("uncertainty") / "calibration.png"
    flags = ("--samples", 300, "--epochs", 2, "--seeds", 2, "--picture", picture)
    return *run_example("uncertainty.py", *flags), picture


def test_tables_show_every_merger_and_group(run):
    names, printed, _ = run
    rows = [line for line in printed.splitlines() if NUMBER.search(line)]
    labels = ["mean", "consistency", "precision", *names["GROUPS"], *names["GROUPS"]]
    assert [row[:16].strip() for row in rows] == labels
    for row in rows:
        numbers = [float(mean) for mean, _ in NUMBER.findall(row)]
        assert len(numbers) == 4
        assert all(0 <= number <= 100 for number in numbers)


def test_tables_show_mean_and_deviation_of_the_seeds(run):
    names, printed, _ = run
    row = next(line for line in printed.splitlines() if line.startswith("precision"))
    areas = torch.stack(names["auc"])[:, 2]
    for k, (mean, deviation) in enumerate(NUMBER.findall(row)):
        assert float(mean) == pytest.approx(areas[:, k].mean().item(), abs=0.006)
        assert float(deviation) == pytest.approx(areas[:, k].std(correction=0).item(), abs=0.006)


def test_coverage_belongs_to_its_group(run):
    names, _, _ = run
    visible = names["hands"]["visible"]
    severe = occlusion_groups(visible)["severe"].unsqueeze(-1)
    residual, scale = names["residual"], names["scale"]
    mask = (~visible & severe).unsqueeze(-1).expand_as(scale)
    expected = calibration_curve(residual, scale, names["LEVELS"], mask)
    assert names["GROUPS"][3] == "hidden, severe"
    assert_close(names["raw"][-1][3], expected)


def test_one_factor_makes_the_mean_error_the_mean_scale(run):
    names, _, _ = run
    _, residual, scale = names["predict"](names["net"], *names["validation"][1:])
    assert_close((residual.abs() / (scale * names["factor"])).mean(dim=(0, 1)), torch.ones(3))


def test_picture_is_written(run):
    assert run[2].read_bytes().startswith(b"\x89PNG")
