"""The training of the lifter runs with small settings, and its measurements are correct."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph.datasets import HandView, SyntheticHands
from handgraph.detectors import RegressionDetector
from handgraph.hub import Estimate, KeypointLifter
from tests.examples.running import run_example


def test_training_saves_a_lifter_with_its_card(tmp_path):
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 2, "--out", tmp_path / "lifter")
    names, out = run_example("train_lifter.py", *flags)
    again = KeypointLifter.from_pretrained(tmp_path / "lifter")
    uv = 100 * torch.rand(3, 21, 2)
    assert torch.equal(again(uv), names["lifters"][0](uv))
    assert again.about["Training"]["command"].endswith("--samples 512 --epochs 1 --seeds 2`")
    assert list(again.about["Errors"]) == [
        "small occlusion",
        "severe occlusion",
        "heatmap detector, scores",
        "heatmap detector, no scores",
        "regression detector",
        "regression detector, depth",
        *(f"all, {missing} missing" for missing in (1, 3, 6, 9)),
    ]
    card = (tmp_path / "lifter" / "README.md").read_text(encoding="utf-8")
    for limit in names["LIMITS"]:
        assert limit in card
    assert "± " in out


def test_measured_errors_are_of_visible_joints_in_millimetres(tmp_path):
    """A lifter with an error of 10 mm at each hidden joint and 2 mm at all others."""
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 1, "--out", tmp_path / "lifter")
    names, _ = run_example("train_lifter.py", *flags)
    hands = names["held_out"]
    off = torch.where(hands["visible"], 0.002, 0.010) / hands["s"].reshape(-1, 1)
    shift = torch.stack([off, 0 * off, 0 * off], dim=-1)

    class Truth:
        def estimate(self, uv, score, depth):
            pose = names["target"](hands, score > 0) + shift
            return Estimate(pose, 3.0 * off, off, score == 0, pose[:, None], off[:, :1])

    for missing in (0, 6):
        mpjpe, expected, by_rays, aligned, pck, area, lost = names["measure"](
            Truth(), hands, missing
        )
        assert expected == pytest.approx(6.0, abs=1e-3)
        assert by_rays > 0
        assert mpjpe == pytest.approx(2.0, abs=1e-3)
        assert aligned > 0
        assert pck == pytest.approx(100)
        assert area == pytest.approx(97.37, abs=0.01)  # the step at 2.63 mm of 50, by trapezoids
        assert 2 < lost < 10 if missing else math.isnan(lost)


def test_real_hands_and_a_graph_net_are_printed_beside_it(tmp_path):
    hands = SyntheticHands(20, seed=4, progress=False).tensors
    np.savez(tmp_path / "some.npz", xyz=hands["xyz"], K=hands["K"])
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 1, "--out", tmp_path / "lifter")
    names, _ = run_example("train_lifter.py", *flags, "--control", "--real", tmp_path / "some.npz")
    about = names["lifters"][0].about
    assert "real, true 2D, 3 missing" in about["Errors"]
    (graph,) = (table for title, table in about.items() if "graph U-Net" in title)
    assert graph.keys() == about["Errors"].keys()
    assert "Real: 20 hands of some" in about["How they are measured"]


def test_depths_are_in_pixels_and_of_regressed_hands_only(tmp_path):
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 1, "--out", tmp_path / "lifter")
    names, _ = run_example("train_lifter.py", *flags)
    exact = RegressionDetector(noise=0, cue_bias=0, cue_scale=0, cue_noise=0, cue_growth=0)
    hands = SyntheticHands(50, view=HandView(focal=(4.7,)), detector=exact).tensors
    depth = names["depth_of"](hands)
    xyz, focal = hands["xyz"], hands["K"][:, :1, 0]
    expected = (xyz[..., 2] - xyz[:, :1, 2]) * focal / xyz[:, :1, 2]
    assert_close(depth, expected, rtol=1e-3, atol=1e-2)
    assert names["depth_of"](SyntheticHands(5).tensors).isnan().all()
