"""mmpose's results are read in all formats it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, INTERHAND, RHD, Skeleton
from handgraph.formats import read_mmpose

UV = torch.tensor([[10.0 * i + 5, 7.0 * i + 3] for i in range(21)])
RHD_INDEX = HAND.index_from(RHD).argsort().tolist()
NAMES = ["wrist", *(f"{f}{i}" for f in ("thumb", "forefinger", "middle_finger", "ring_finger",
                                        "pinky_finger") for i in (1, 2, 3, 4))]  # fmt: skip


def instance(index=range(21), score=0.5):
    return {
        "keypoints": UV[list(index)].tolist(),
        "keypoint_scores": [score for _ in index],
        "bbox": [[0.0, 0.0, 640.0, 480.0]],
        "bbox_score": 0.99,
    }


def meta(dataset, names):
    return {
        "dataset_name": dataset,
        "num_keypoints": len(names),
        "keypoint_id2name": {str(i): name for i, name in enumerate(names)},
    }


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ([instance()], ["a"]),
        ({"visualization": [], "predictions": [[instance(), instance()]]}, ["a", "a"]),
        (
            [{"frame_id": 0, "instances": []}, {"frame_id": 1, "instances": [instance()]}],
            ["a 1"],
        ),
        ({"meta_info": meta("onehand10k", NAMES), "instance_info": [instance()]}, ["a"]),
        (
            {
                "meta_info": meta("rhd2d", NAMES),
                "instance_info": [{"frame_id": 7, "instances": [instance(RHD_INDEX)]}],
            },
            ["a 7"],
        ),
        (
            {
                "meta_info": meta("interhand2d", [NAMES[i] for i in range(20, -1, -1)]),
                "instance_info": [instance(range(20, -1, -1))],
            },
            ["a"],
        ),
    ],
    ids=["inferencer", "in memory", "video", "demo", "RHD", "InterHand2D"],
)
def test_every_shape(tmp_path, content, names):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    hands = read_mmpose(path)
    assert hands.name == tuple(names)
    assert_close(hands.uv, UV.expand(len(names), -1, -1))
    assert hands.side == (None,) * len(names)
    assert (hands.score == 0.5).all()


@pytest.mark.parametrize("content", [[], [[]], {"predictions": [[]]}, {"instance_info": []}])
def test_images_without_hands(content):
    assert len(read_mmpose(content)) == 0


def test_whole_bodies_have_two_hands():
    rows = [[0.0, 0.0]] * 91 + (UV + 300).tolist() + UV.tolist()
    hands = read_mmpose([{"keypoints": rows, "keypoint_scores": [1] * 133}])
    assert hands.side == ("left", "right")
    assert_close(hands.uv, torch.stack([UV + 300, UV]))


def test_orders():
    assert_close(read_mmpose([instance(RHD_INDEX)], order=RHD).uv[0], UV)
    one = [joint.removeprefix("right_") for joint in INTERHAND.joints[:21]]
    index = [HAND.index(joint) for joint in one]
    order = Skeleton("InterHand2D", one, ())
    assert_close(read_mmpose([instance(index)], order=order).uv[0], UV)


def test_scores():
    found = instance()
    found["keypoint_scores"] = [np.float32(x) for x in (1.1, -0.01, 0.0, *[0.5] * 18)]
    with pytest.warns(UserWarning, match="mmpose: 1 scores above 1 become 1"):
        hands = read_mmpose([found])
    assert hands.missing[0].nonzero().flatten().tolist() == [1, 2]
    assert hands.score[0, :4].tolist() == [1, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([instance(range(20))], r"mmpose\[0\]: keypoints: expected 21 or 133 joints, got 20"),
        ([{"keypoints": [[1, 2, 3]] * 21}], r"keypoints\[0\]: expected 2 numbers"),
        ([{**instance(), "keypoint_scores": []}], r"keypoint_scores: expected 21 rows"),
        ([{"keypoints": UV.tolist()}], r"mmpose\[0\]: expected a field 'keypoint_scores'"),
        ([instance(score=87.0)], "keypoint_scores: joint 0: expected a score from 0 to 1, got 87"),
        ({"people": []}, "mmpose: expected keypoints, predictions, instance_info or instances"),
        ({"predictions": 3}, "mmpose: predictions: expected a list, got 3"),
        ({"meta_info": {}, "instance_info": []}, "meta_info: expected a field 'keypoint_id2name'"),
        (
            {"meta_info": meta("coco", ["nose"]), "instance_info": []},
            "meta_info: expected the 21 joints of a hand, wrist, .* not found in nose",
        ),
        (
            {"meta_info": {"keypoint_id2name": {"a": "wrist"}}, "instance_info": []},
            "keypoint_id2name: expected numbers and names",
        ),
    ],
)
def test_errors_name_the_position_in_the_file(content, message):
    with pytest.raises(ValueError, match=message):
        read_mmpose(content)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_of_the_python_api_are_read_like_lists(dtype):
    one = instance()
    arrays = {name: np.array(one[name], dtype) for name in ("keypoints", "keypoint_scores")}
    assert torch.equal(read_mmpose([arrays]).uv, read_mmpose([one]).uv)


def test_an_order_of_more_joints_than_the_file_has():
    with pytest.raises(ValueError, match="expected 42 rows of 2 numbers, got 42 numbers of 84"):
        read_mmpose([instance()], order=INTERHAND)
