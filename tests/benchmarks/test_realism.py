"""Coverage of real hands by simulated ones: the measure against a slow reference, and a report."""

import json

import numpy as np
import pytest
import torch

from benchmarks import realism, report
from handgraph.datasets import NARROW, SyntheticHands
from handgraph.metrics import joint_errors, procrustes_align


def hands(number, seed, **options):
    return SyntheticHands(number, seed=seed, progress=False, **options).tensors["xyz"].double()


def test_nearest_distance_is_the_minimum_over_aligned_hands():
    real, simulated = hands(6, 1), hands(300, 2)
    slow = [
        joint_errors(procrustes_align(simulated, target), target).mean(1).min()
        for target in (hand.expand_as(simulated) for hand in real)
    ]
    torch.testing.assert_close(
        realism.nearest(real, simulated), 1000 * torch.stack(slow), rtol=1e-4, atol=0
    )


def test_distance_is_invariant_to_rotation_and_scale():
    simulated = hands(50, 3)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turn = turn * torch.linalg.det(turn)  # no reflection
    assert realism.nearest(1.3 * simulated[:5] @ turn.T + 0.2, simulated).max() < 1e-6


def test_shares_outside_equal_hand_computed_values():
    simulated = {"a": np.linspace(0.0, 1.0, 1001), "b": np.linspace(-1.0, 1.0, 1001)}
    real = {"a": np.array([-1.0, 0.5, 2.0, np.nan]), "b": np.array([0.0, 0.1])}
    first, second = realism.compare(real, simulated)
    assert first["outside"] == pytest.approx(2 / 3)
    assert second["outside"] == 0.0
    assert first["real"][1] == 0.5


def test_undefined_angles_are_nan():
    rows = realism.rows(hands(2000, 4))
    bent = rows["index, mcp"] > realism.STRAIGHT
    assert np.isnan(rows["index, abduction"][bent]).all()
    assert not np.isnan(rows["index, abduction"][~bent]).any()
    assert len(rows) == 46


def test_narrow_hands_do_not_cover_the_default(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(realism, "CANDIDATES", 10)
    np.savez(tmp_path / "some.npz", xyz=hands(60, 5))
    flags = ["--real", str(tmp_path / "some.npz"), "--samples", "512", "--most", "4"]
    written = {
        "--out": tmp_path / "results" / "found.json",
        "--picture": tmp_path / "realism.png",
    }
    realism.main([*flags, *(str(part) for pair in written.items() for part in pair)])
    assert "beyond 10 mm" in capsys.readouterr().out
    found = json.loads(written["--out"].read_text())
    assert (found["real"], found["num_real"]) == ("some", 60)
    assert written["--picture"].stat().st_size > 10_000
    page = report.page([found])
    assert "60 real hands (some) are compared with 512 of" in page
    width = [
        realism.compare(realism.rows(hands(200, 6)), realism.rows(hands(500, 7, **options)))[0]
        for options in ({}, NARROW)
    ]
    assert width[0]["name"] == "palm width"
    assert width[0]["outside"] < 0.05 < 0.2 < width[1]["outside"]


def test_committed_results_meet_their_goals():
    found = json.loads((realism.Path(report.__file__).parent / "results/realism.json").read_text())
    assert found["samples"] == 20_000
    assert found["beyond"] <= 0.15
    assert max(row["outside"] for row in found["rows"]) <= 0.10
