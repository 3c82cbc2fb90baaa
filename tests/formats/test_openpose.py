"""OpenPose's people are converted to hands with sides and missing joints."""

from __future__ import annotations

import json

import pytest
import torch

from handgraph.formats import Keypoints, read_openpose

LEFT = [x for i in range(21) for x in (10.5 * i + 1, 5 * i + 2, 0.5)]
RIGHT = [x for i in range(21) for x in (i + 1, 3 * i + 1, 1)]  # integers


def person(left=(), right=()):
    return {
        "person_id": [-1],
        "pose_keypoints_2d": [582.349, 507.866, 0.845918] * 25,
        "hand_left_keypoints_2d": list(left),
        "hand_right_keypoints_2d": list(right),
        "hand_left_keypoints_3d": [],
    }


def write(path, *people):
    path.write_text(json.dumps({"version": 1.3, "people": people}), encoding="utf-8-sig")
    return path


def test_hands_of_several_people(tmp_path):
    path = write(tmp_path / "手_keypoints.json", person(LEFT, RIGHT), person(), person(right=RIGHT))
    hands = read_openpose(path)
    assert hands.side == ("left", "right", "right")
    assert hands.name == ("手_keypoints",) * 3
    assert hands.uv[0, 2].tolist() == [22, 12]
    assert hands.uv[1, 20].tolist() == [21, 61]
    assert hands.score[:2, 0].tolist() == [0.5, 1]
    assert hands.depth is None
    assert hands.image_size is None
    assert not hands.missing.any()


def test_joints_of_score_0_are_missing(tmp_path):
    left = LEFT.copy()
    left[6:9] = [0, 0, 0]
    left[9:12] = [40, 50, 0]
    hands = read_openpose(write(tmp_path / "a.json", person(left, 63 * [0])))
    assert hands.side == ("left",)
    assert hands.missing.nonzero().tolist() == [[0, 2], [0, 3]]
    assert hands.score[0, 2:4].tolist() == [0, 0]


NULL = {"hand_left_keypoints_2d": None, "hand_right_keypoints_2d": None}


@pytest.mark.parametrize("people", [(), (person(),), (person(63 * [0]),), (NULL,)])
def test_files_without_hands(tmp_path, people):
    hands = read_openpose(write(tmp_path / "a.json", *people))
    assert len(hands) == 0
    assert hands.uv.shape == (0, 21, 2)


def test_scores_above_1_become_1_with_a_warning(tmp_path):
    left = LEFT.copy()
    left[2], left[5] = 1.07, 1.01
    path = write(tmp_path / "a.json", person(left))
    with pytest.warns(UserWarning, match="a.json: 2 scores above 1 become 1 .the largest is 1.07"):
        hands = read_openpose(path)
    assert hands.score[0, :3].tolist() == [1, 1, 0.5]


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([person(LEFT[:-1])], r"people\[0\].hand_left_keypoints_2d: .*21 rows .* 62 numbers"),
        ([person(), person([*LEFT[:-1], 87])], r"people\[1\].hand_left.*joint 20: .*got 87"),
        ([person([*LEFT[:-1], -0.1])], "joint 20: expected a score from 0 to 1"),
        ([person(["1", *LEFT[1:]])], r"keypoints_2d\[0\]: expected a finite number, got '1'"),
        ([person([True, *LEFT[1:]])], r"keypoints_2d\[0\]: expected a finite number, got True"),
        ([person([float("nan"), *LEFT[1:]])], r"\[0\]: expected a finite number, got nan"),
        ([person([10**400, *LEFT[1:]])], r"\[0\]: expected a finite number, got 1000"),
        ([person([1e300, *LEFT[1:]])], r"\[0\]: expected a finite number, got 1e"),
        ([{"pose_keypoints_2d": []}], r"people\[0\]: no hand_left_keypoints_2d"),
        ([3], r"people\[0\]: expected a JSON object, got 3"),
        ([{**NULL, "hand_left_keypoints_2d": 0}], r"keypoints_2d: expected a list, got 0"),
    ],
)
def test_errors_name_the_position_in_the_file(tmp_path, people, message):
    with pytest.raises(ValueError, match=f"a.json: .*{message}"):
        read_openpose(write(tmp_path / "a.json", *people))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="OpenPose: expected a field 'people', got images"):
        read_openpose({"images": []})
    with pytest.raises(ValueError, match="OpenPose: expected a JSON object"):
        read_openpose([])


def test_entries_are_about_the_same_hands():
    with pytest.raises(ValueError, match=r"expected score of shape \[2, 21\], got \[2, 20\]"):
        Keypoints(torch.rand(2, 21, 2), torch.rand(2, 20), side=(None, None), name=("", ""))
    with pytest.raises(ValueError, match="expected 2 names, got 1"):
        Keypoints(torch.rand(2, 21, 2), side=(None, None), name=("",))
