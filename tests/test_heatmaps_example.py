"""The example of the heatmap generator, in small: its table, its pictures, genuine images."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RHD
from handgraph.metrics import visible_mean

pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "heatmaps.py"
SAMPLE = ROOT.parent / "shared" / "data" / "rhd_sample"
NUMBER = re.compile(r"\d+\.\d\d")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the script leaves behind, what it prints, and its folder."""
    out = tmp_path_factory.mktemp("heatmaps")
    flags = ["--samples", "48", "--batch-size", "16", "--out", str(out)]
    flags += ["--rhd-sample", str(SAMPLE)] if SAMPLE.exists() else []
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.syspath_prepend(str(EXAMPLE.parent))
        patch.setattr(sys, "argv", [str(EXAMPLE), *flags])
        patch.setattr("builtins.print", lambda *lines: printed.extend(lines))
        names = runpy.run_path(str(EXAMPLE))
    return names, "\n".join(printed), out


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
    assert pictures == {"errors.png", "hands.png"} | ({"rhd.png"} if SAMPLE.exists() else set())
    assert all(str(out / name) in printed for name in pictures)
    for name in pictures:
        assert np.asarray(Image.open(out / name).convert("RGB")).std() > 10


def test_hands_are_chosen_by_what_is_visible(run):
    names, _, _ = run
    count = names["after"]["visible"].sum(dim=-1)
    chosen = names["choose"](names["after"], (21, 12))["visible"].sum(dim=-1)
    assert chosen[0] == count.max()
    assert (chosen[1] - 12).abs() == (count - 12).abs().min()


def test_errors_are_drawn_by_group(run, tmp_path, monkeypatch):
    names, _, _ = run
    module = sys.modules[names["save_errors"].__module__]
    seen = []
    monkeypatch.setattr(module, "visible_mean", lambda *x: seen.append(x) or visible_mean(*x))
    hand = names["after"]
    names["save_errors"](hand, tmp_path / "errors.png")
    assert len(seen) == 2 * len(module.GROUPS)
    assert sum(len(errors) for errors, _ in seen) == 2 * len(hand["uv"])


@pytest.mark.skipif(not SAMPLE.exists(), reason="the RHD samples are not here")
def test_genuine_joints_are_where_they_were(run):
    """Colours at the joints of a large crop are those at the annotated pixels."""
    read_sample = run[0]["read_sample"]
    hand = read_sample(SAMPLE, 640)
    content = json.loads((SAMPLE / "test_rhd.json").read_text())
    for image, uv, annotation in zip(
        hand["image"], hand["uv"], content["annotations"], strict=True
    ):
        file = SAMPLE / f"{annotation['image_id']:05d}.png"
        pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
        before = torch.tensor(annotation["keypoints"])[HAND.index_from(RHD), :2].round().long()
        after = uv.round().long()
        there = image[:, after[:, 1], after[:, 0]].float()
        expected = pixels[:, before[:, 1], before[:, 0]].float()
        assert (there - expected).abs().mean() < 8
        mirrored = (after[:, 0] - after[0, 0]).sign() != (before[:, 0] - before[0, 0]).sign()
        assert mirrored[1:].float().mean().round() == (annotation["hand_type"] == "left")


@pytest.mark.skipif(not SAMPLE.exists(), reason="the RHD samples are not here")
def test_genuine_hands_fill_their_crops(run):
    uv = run[0]["read_sample"](SAMPLE, 64)["uv"]
    extent = (uv.amax(dim=1) - uv.amin(dim=1)).amax(dim=-1)
    assert_close(extent, torch.full((3,), 64 / 1.5))
