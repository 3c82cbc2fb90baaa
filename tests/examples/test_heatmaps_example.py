"""The example of the heatmap generator, in small: its table, its picture."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from tests.examples.running import run_example

pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

NUMBER = re.compile(r"\d+\.\d\d")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the script leaves behind, what it prints, and its folder."""
    out = tmp_path_factory.mktemp("heatmaps")
    flags = ("--samples", 48, "--batch-size", 16, "--out", out)
    return *run_example("heatmaps.py", *flags), out


def test_the_table_holds_mean_errors(run):
    names, printed, _ = run
    hand = names["after"]
    errors, seen = (hand["found"] - hand["uv"]).norm(dim=-1), hand["visible"]
    row = next(line for line in printed.splitlines() if line.startswith("after training"))
    numbers = [float(number) for number in NUMBER.findall(row)]
    assert len(numbers) == 4
    assert numbers[0] == pytest.approx(errors[seen].mean().item(), abs=0.006)
    assert numbers[3] == pytest.approx(errors[~seen].mean().item(), abs=0.006)


def test_training_moves_every_parameter(run):
    net = run[0]["net"]
    torch.manual_seed(0)  # as the script does before it makes the net
    fresh = dict(type(net)(backbone="hrnet_w18_small").named_parameters())
    still = [name for name, value in net.named_parameters() if torch.equal(value, fresh[name])]
    assert still == []
    assert net.backbone.bn1.num_batches_tracked == 3


def test_the_same_hands_are_tested_before_and_after(run):
    names, _, _ = run
    for name in ("image", "uv", "visible"):
        assert torch.equal(names["before"][name], names["after"][name])


def test_pictures_are_written(run):
    _, printed, out = run
    pictures = {path.name for path in out.iterdir()}
    assert pictures == {"hands.png"}
    assert str(out / "hands.png") in printed
    for name in pictures:
        assert np.asarray(Image.open(out / name).convert("RGB")).std() > 10


def test_hands_are_selected_by_visibility(run):
    names, _, _ = run
    count = names["after"]["visible"].sum(dim=-1)
    chosen = names["choose"](names["after"], (21, 12))["visible"].sum(dim=-1)
    assert chosen[0] == count.max()
    assert (chosen[1] - 12).abs() == (count - 12).abs().min()
