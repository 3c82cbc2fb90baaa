from __future__ import annotations

import body
import pytest
import torch
from body import LENGTH, LIMBS, NETS, detect, pose, walkers
from torch.testing import assert_close

from handgraph import H36M


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_bones_keep_their_length():
    xyz = walkers(200, rng())
    parent, child = H36M.bones
    lengths = (xyz[:, child] - xyz[:, parent]).norm(dim=-1)
    expected = [LENGTH[H36M.joints[j].split("_")[-1]] for j in child.tolist()]
    assert_close(lengths, torch.tensor(expected).expand_as(lengths), rtol=1e-5, atol=1e-6)
    assert (xyz[:, H36M.index("pelvis")] == 0).all()


def test_standing_figure_by_hand():
    zero = torch.zeros(1)
    angles = dict.fromkeys(H36M.joints, (zero, zero))
    angles |= dict.fromkeys(("spine", "thorax", "neck", "head"), (zero + torch.pi, zero))
    xyz = pose(angles)[0]
    assert_close(xyz[H36M.index("head")], torch.tensor([0, 0.73, 0]))
    assert_close(xyz[H36M.index("left_ankle")], torch.tensor([0, -1.01, 0]))


def test_arms_swing_against_legs():
    z = walkers(2000, rng())[..., 2]

    def swing(joint, parent):
        return z[:, H36M.index(joint)] - z[:, H36M.index(parent)]

    left, right = swing("left_knee", "left_hip"), swing("right_knee", "right_hip")
    arm = swing("left_elbow", "left_shoulder")
    correlation = torch.corrcoef(torch.stack([left, right, arm]))
    assert correlation[0, 1] < -0.8
    assert correlation[0, 2] < -0.8


def test_one_limb_is_off():
    xyz = walkers(2000, rng())
    uv, wrong = detect(xyz, rng(1))
    limbs = {tuple((~mask).tolist()) for mask in LIMBS.keep_mask}
    assert {tuple(row.tolist()) for row in wrong} == limbs
    off = uv - xyz[..., :2]
    assert off[wrong].std().item() == pytest.approx(0.3, rel=0.05)
    assert off[~wrong].std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("name", NETS)
def test_nets_have_one_size(name):
    size = sum(p.numel() for p in NETS[name]().parameters())
    assert 82_000 < size < 88_000


def test_example_prints_its_table(capsys):
    body.main(["--samples", "300", "--epochs", "1", "--seeds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert "in mm" in lines[0]
    assert [line[:17].strip() for line in lines[2:]] == [*NETS]


def test_same_seed_same_numbers(capsys):
    for _ in range(2):
        body.main(["--samples", "300", "--epochs", "1", "--seeds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == lines[5:]
