"""FreiHAND's lists of joints and cameras are converted to hands."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph.formats import read_freihand

RNG = np.random.default_rng(0)
XYZ = RNG.uniform([-0.1, -0.1, 0.5], [0.1, 0.1, 0.9], (3, 21, 3))
K = np.array([[[480.0 + i, 0.5, 112], [0, 470, 110 - i], [0, 0, 1]] for i in range(3)])


def write(folder, split="training", **changes):
    content = {"xyz": XYZ.tolist(), "K": K.tolist(), "mano": [], **changes}
    for name, records in content.items():
        path = folder / f"{split}_{name}.json"
        path.write_text(json.dumps(records), encoding="utf-8-sig")
    return folder


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_joints_are_projected(tmp_path, split):
    hands = read_freihand(write(tmp_path, split), split)
    image = np.einsum("nij,nkj->nki", K, XYZ)
    assert_close(hands.uv, torch.tensor(image[..., :2] / image[..., 2:]).float())
    assert_close(hands.xyz, torch.tensor(XYZ).float())
    assert_close(hands.K, torch.tensor(K).float())
    assert hands.side == ("right",) * 3
    assert hands.name[2] == f"{split}/rgb/00000002.jpg"
    assert hands.image_size.tolist() == [[224, 224]] * 3
    assert hands.score is None
    assert not hands.missing.any()


def test_whole_numbers(tmp_path):
    points = [[i, 1, 2] for i in range(21)]
    hands = read_freihand(write(tmp_path, xyz=[points], K=[[[2, 0, 5], [0, 4, 7], [0, 0, 1]]]))
    assert hands.uv[0].tolist() == [[i + 5, 9] for i in range(21)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xyz": []}, "_xyz.json: expected at least one record, got an empty list"),
        ({"xyz": [[], []]}, "_xyz.json: record 0: expected 21 rows of 3 numbers, got 0"),
        ({"K": K.tolist()[:2]}, "_K.json: expected 3 records as of xyz, got 2"),
        ({"K": [*K.tolist()[:2], np.eye(3).tolist()[::-1]]}, "_K.json: record 2: K is not a"),
        ({"xyz": [*XYZ.tolist()[:2], (-XYZ[2]).tolist()]}, "_xyz.json: record 2: .* not in front"),
        ({"xyz": [XYZ.tolist(), []]}, r"_xyz.json: record 0\[0\]: expected 3 numbers"),  # pred.json
    ],
)
def test_errors_name_the_position_in_the_file(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"training{message}"):
        read_freihand(write(tmp_path, **changes))


def test_evaluation_without_joints(tmp_path):
    write(tmp_path, "evaluation")
    (tmp_path / "evaluation_xyz.json").unlink()
    with pytest.raises(FileNotFoundError, match="evaluation_xyz.json"):
        read_freihand(tmp_path, "evaluation")
