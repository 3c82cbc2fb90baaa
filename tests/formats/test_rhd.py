"""RHD's pickle contains both hands of each image."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RHD
from handgraph.formats import read_rhd

RNG = np.random.default_rng(0)
ORDER = [RHD.joints.index(joint) for joint in HAND.joints]
K = np.array([[282.5, 0, 160], [0, 282.5, 160], [0, 0, 1]])


def sample(visible):
    uv = RNG.uniform(0, 320, (42, 2))
    xyz = RNG.uniform(-0.2, 0.8, (42, 3)).astype(np.float32)
    return {"uv_vis": np.column_stack([uv, visible]), "xyz": xyz, "K": K}


def test_both_hands(tmp_path):
    flags = RNG.integers(0, 2, 42)
    flags[[3, 24]] = 1, 0
    left_only = np.r_[np.ones(21), np.zeros(21)]
    records = {3: sample(flags), 11: sample(left_only), 12: sample(np.zeros(42))}
    path = tmp_path / "anno_ü.pickle"
    path.write_bytes(pickle.dumps(records, protocol=2))
    hands = read_rhd(path)
    assert hands.side == ("left", "right", "left")
    assert hands.name == ("color/00003.png", "color/00003.png", "color/00011.png")
    for hand, (number, first) in enumerate([(3, 0), (3, 21), (11, 0)]):
        rows = [first + row for row in ORDER]
        assert_close(hands.uv[hand], torch.tensor(records[number]["uv_vis"][rows, :2]).float())
        assert_close(hands.xyz[hand], torch.tensor(records[number]["xyz"][rows]))
    assert hands.score[0].tolist() == (0.5 + 0.5 * flags[ORDER]).tolist()
    assert (hands.score[2] == 1).all()
    assert_close(hands.K[2], torch.tensor(K).float())
    assert not hands.missing.any()


def test_errors_name_the_position_in_the_file(tmp_path):
    path = tmp_path / "anno.pickle"
    record = sample(np.ones(42))
    record["uv_vis"][30, 2] = 2  # a joint of the right hand
    path.write_bytes(pickle.dumps({5: record}))
    with pytest.raises(ValueError, match=r"anno.pickle: sample 5: a visibility is not 0 or 1"):
        read_rhd(path)
    path.write_bytes(pickle.dumps({5: {"xyz": record["xyz"]}}))
    with pytest.raises(ValueError, match=r"anno.pickle: sample 5: expected uv_vis to be an array"):
        read_rhd(path)
