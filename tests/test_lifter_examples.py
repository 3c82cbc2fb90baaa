"""The examples around the lifter run in small; files in any form and order give one answer."""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND
from handgraph.datasets import HandView, SyntheticHands
from handgraph.detectors import RegressionDetector
from handgraph.hub import Estimate, KeypointLifter, pretrained_lifter

EXAMPLES = Path(__file__).parents[1] / "examples"
MEDIAPIPE = [
    "WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP",
    *(f"{finger}_{level}" for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
      for level in ("MCP", "PIP", "DIP", "TIP")),
]  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run an example in this process, and give its names and the rows that it prints."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        names = runpy.run_path(str(EXAMPLES / name))
        return names, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def hand():
    """Rows (u, v, score), rounded so that every file can hold them."""
    sample = SyntheticHands(1, seed=11, progress=False)[0]
    return torch.cat([sample.uv.round(), sample.confidence.round(decimals=2)], dim=1)


def write_json(path, hand):
    path.write_text(json.dumps(dict(zip(HAND.joints[::-1], hand.flip(0).tolist(), strict=True))))


def write_rows(path, hand):
    path.write_text(json.dumps(hand.tolist()))


def write_mediapipe(path, hand):
    """As shares of an image of 640 x 480."""
    shares = hand / torch.tensor([640.0, 480.0, 1.0])
    path.write_text(json.dumps(dict(zip(MEDIAPIPE, shares.tolist(), strict=True))))


def write_csv(path, hand):
    rows = [
        f"{joint},{u},{v},{s}" for joint, (u, v, s) in zip(HAND.joints, hand.tolist(), strict=True)
    ]
    path.write_text("\n".join(["joint,u,v,score", *rows[::-1]]) + "\n")


def write_npz(path, hand):
    order = np.random.default_rng(0).permutation(21)
    uv, score = hand[order, :2].numpy(), hand[order, 2].numpy()
    np.savez(path, uv=uv, score=score, joints=np.array(HAND.joints)[order])


@pytest.mark.parametrize(
    ("suffix", "write", "options"),
    [
        ("json", write_json, ()),
        ("json", write_rows, ()),
        ("json", write_mediapipe, ("--image-size", 640, 480)),
        ("csv", write_csv, ()),
        ("npz", write_npz, ()),
    ],
    ids=["json by name", "json rows", "mediapipe", "csv", "npz"],
)
def test_every_file_gives_the_pose_of_the_library(run, hand, tmp_path, suffix, write, options):
    write(tmp_path / f"hand.{suffix}", hand)
    picture = tmp_path / "new" / "hand.png"
    names, out = run(
        "lift_keypoints.py",
        tmp_path / f"hand.{suffix}",
        "--out",
        picture,
        "--side",
        "left",
        *options,
    )
    with torch.no_grad():
        expected = pretrained_lifter()(hand[:, :2], hand[:, 2], side="left")
    torch.testing.assert_close(names["pose"], expected, rtol=1e-4, atol=1e-4)
    printed = dict(line.split(maxsplit=1) for line in out.splitlines()[1:-1])
    assert printed.keys() == set(HAND.joints)
    tip = [float(value) for value in printed["index_tip"].split()]
    assert tip == pytest.approx(expected[HAND.index("index_tip")].tolist(), abs=0.006)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_joints_without_scores_are_lifted_without(run, hand, tmp_path):
    write_rows(tmp_path / "hand.json", hand[:, :2])
    names, _ = run("lift_keypoints.py", tmp_path / "hand.json", "--out", tmp_path / "hand.png")
    with torch.no_grad():
        expected = pretrained_lifter()(hand[:, :2])
    torch.testing.assert_close(names["pose"], expected)


def test_demo_compares_with_the_truth(run, tmp_path):
    _, out = run("lift_keypoints.py", "--out", tmp_path / "hand.png")
    (line,) = (line for line in out.splitlines() if line.startswith("mean error"))
    assert 0 < int(line.split()[2]) < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda joints: joints.pop("wrist"), "20 rows; missing or unknown: wrist"),
        (lambda joints: joints.update(toe=[0.0, 0.0]), "22 rows; missing or unknown: toe"),
    ],
)
def test_other_joints_are_refused(run, hand, tmp_path, change, message):
    joints = dict(zip(HAND.joints, hand.tolist(), strict=True))
    change(joints)
    (tmp_path / "hand.json").write_text(json.dumps(joints))
    with pytest.raises(ValueError, match=message):
        run("lift_keypoints.py", tmp_path / "hand.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [[*row, 1.0] for row in rows], r"of each joint, got \[4\] numbers"),
        (lambda rows: [rows[0][:2], *rows[1:]], r"of each joint, got \[2, 3\] numbers"),
    ],
)
def test_other_columns_are_refused(run, hand, tmp_path, change, message):
    (tmp_path / "hand.json").write_text(json.dumps(change(hand.tolist())))
    with pytest.raises(ValueError, match=message):
        run("lift_keypoints.py", tmp_path / "hand.json")


def test_an_empty_table_is_refused(run, tmp_path):
    (tmp_path / "hand.csv").touch()
    with pytest.raises(ValueError, match=r"hand.csv: expected a header joint,u,v, got $"):
        run("lift_keypoints.py", tmp_path / "hand.csv")


def test_training_saves_a_lifter_with_its_card(run, tmp_path):
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 2, "--out", tmp_path / "lifter")
    names, out = run("train_lifter.py", *flags)
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


def test_measured_errors_are_millimetres_of_what_is_visible(run, tmp_path):
    """A lifter that says the truth but for 10 mm at each hidden joint, and 2 mm elsewhere."""
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 1, "--out", tmp_path / "lifter")
    names, _ = run("train_lifter.py", *flags)
    hands = names["held_out"]
    off = torch.where(hands["visible"], 0.002, 0.010) / hands["s"].reshape(-1, 1)
    shift = torch.stack([off, 0 * off, 0 * off], dim=-1)

    class Truth:
        def estimate(self, uv, score, depth):
            pose = names["target"](hands, score > 0) + shift
            return Estimate(pose, 3.0 * off, off, score == 0)

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


def test_real_hands_and_a_graph_net_are_printed_beside_it(run, tmp_path):
    hands = SyntheticHands(20, seed=4, progress=False).tensors
    np.savez(tmp_path / "some.npz", xyz=hands["xyz"], K=hands["K"])
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 1, "--out", tmp_path / "lifter")
    names, _ = run("train_lifter.py", *flags, "--control", "--real", tmp_path / "some.npz")
    about = names["lifters"][0].about
    assert "real, true 2D, 3 missing" in about["Errors"]
    (graph,) = (table for title, table in about.items() if "graph U-Net" in title)
    assert graph.keys() == about["Errors"].keys()
    assert "Real: 20 hands of some" in about["How they are measured"]


def test_depths_are_in_pixels_and_of_regressed_hands_only(run, tmp_path):
    flags = ("--samples", 512, "--epochs", 1, "--seeds", 1, "--out", tmp_path / "lifter")
    names, _ = run("train_lifter.py", *flags)
    exact = RegressionDetector(noise=0, cue_bias=0, cue_scale=0, cue_noise=0, cue_growth=0)
    hands = SyntheticHands(50, view=HandView(focal=(4.7,)), detector=exact).tensors
    depth = names["depth_of"](hands)
    xyz, focal = hands["xyz"], hands["K"][:, :1, 0]
    expected = (xyz[..., 2] - xyz[:, :1, 2]) * focal / xyz[:, :1, 2]
    assert_close(depth, expected, rtol=1e-3, atol=1e-2)
    assert names["depth_of"](SyntheticHands(5).tensors).isnan().all()


def test_integers_marks_and_blank_lines_are_read(run, hand, tmp_path):
    rows = [[round(u), round(v), 1] for u, v, _ in hand.tolist()]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    table = [f"{joint},{u},{v},{s}" for joint, (u, v, s) in zip(HAND.joints, rows, strict=True)]
    text = "\n".join(["joint,u,v,score", *table]) + "\n\n\n"
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8-sig")
    names, _ = run("lift_keypoints.py", tmp_path / "rows.json", "--out", tmp_path / "hand.png")
    expected = torch.tensor(rows, dtype=torch.float32)
    for name in ("rows.json", "rows.csv"):
        assert torch.equal(names["read"](tmp_path / name), expected)


def test_missing_joints_are_inferred(run, hand, tmp_path):
    rows = hand.tolist()
    rows[4], rows[8] = [None, None, 0.9], [0.0, 0.0, 0.0]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    names, out = run("lift_keypoints.py", tmp_path / "rows.json", "--out", tmp_path / "hand.png")
    inferred = [line.split()[0] for line in out.splitlines() if line.endswith("inferred")]
    assert inferred == ["thumb_tip", "index_tip"]
    assert names["pose"].isfinite().all()
