"""One reader for all formats: which one a file has, and which arguments belong to it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from handgraph import INTERHAND, RHD
from handgraph.datasets import SyntheticHands, write_rhd
from handgraph.formats import (
    guess_format,
    read_coco,
    read_freihand,
    read_interhand,
    read_keypoints,
    read_mediapipe,
    read_mmpose,
    read_rhd,
)

POINTS = [{"x": 0.01 * i, "y": 0.02 * i, "z": 0.0} for i in range(21)]
LEGACY = {
    "multi_hand_landmarks": [{"landmark": POINTS}],
    "multi_handedness": [{"classification": [{"label": "Right"}]}],
}
TASKS = {"hand_landmarks": [POINTS], "handedness": [[{"category_name": "Left"}]]}
MMPOSE = [{"keypoints": [[i, 2 * i] for i in range(21)], "keypoint_scores": [0.5] * 21}]
COCO = {
    "images": [{"id": 1, "file_name": "1.jpg"}],
    "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 2] * 21}],
    "categories": [{"id": 1, "keypoints": list(RHD.joints)}],
}


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ({"multi_hand_landmarks": None, "multi_handedness": None}, "mediapipe"),
        ([{"landmarks": [], "handednesses": []}], "mediapipe"),
        ([{"frame_id": 0, "instances": []}], "mmpose"),
        ({"meta_info": {}, "instance_info": []}, "mmpose"),
        ({"0": {"keypoints_2d": {}, "keypoints_3d": {}}, "1": {}}, "h3wb"),
        ({"0": {"keypoints_2d": {}}}, "h3wb"),
        ({"visualization": [], "predictions": [[]]}, "mmpose"),
        ({"images": [], "annotations": [], "categories": []}, "coco"),
        ({"images": [], "annotations": [{"keypoints": []}]}, "coco"),
        ({"images": [], "annotations": [{"joint_valid": []}]}, "interhand"),
        ("a/evaluation_xyz.json", "freihand"),
        (Path("anno_evaluation.pickle"), "rhd"),
    ],
)
def test_formats_are_known_by_their_fields(content, form):
    assert guess_format(content) == form


def test_results_of_python_are_known_by_their_attributes():
    result = SimpleNamespace(**LEGACY)
    assert guess_format(result) == guess_format([result, result]) == "mediapipe"
    hands = read_keypoints(result, image_size=(10, 10))
    assert torch.equal(hands.uv, read_mediapipe(LEGACY, (10, 10)).uv)


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (LEGACY, {"image_size": (640, 480)}, read_mediapipe(LEGACY, (640, 480))),
        (
            TASKS,
            {"image_size": (6, 4), "mirrored_labels": True},
            read_mediapipe(TASKS, (6, 4), mirrored_labels=True),
        ),
        (MMPOSE, {}, read_mmpose(MMPOSE)),
        (MMPOSE, {"order": RHD}, read_mmpose(MMPOSE, order=RHD)),
        (COCO, {}, read_coco(COCO)),
    ],
)
def test_the_reader_of_the_format_reads(tmp_path, content, options, expected):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for source in (content, path, str(path)):
        hands = read_keypoints(source, **options)
        assert torch.equal(hands.uv, expected.uv)
        assert hands.side == expected.side


@pytest.fixture
def folder(tmp_path):
    """Write files of data sets with 3D joints."""
    hands = SyntheticHands(2, seed=1, image_size=32, progress=False)
    write_rhd(tmp_path, "training", hands)
    for name in ("xyz", "K"):
        records = hands.tensors[name].tolist()
        (tmp_path / f"evaluation_{name}.json").write_text(json.dumps(records))
    valid = [[1]] * INTERHAND.num_joints
    camera = {"campos": [0, 0, -9], "camrot": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
              "focal": [50, 50], "princpt": [9, 8]}  # fmt: skip
    content = {
        "data": {
            "images": [{"id": 5, "capture": 0, "camera": "4", "frame_idx": 7}],
            "annotations": [{"image_id": 5, "joint_valid": valid}],
        },
        "camera": {"0": {key: {"4": value} for key, value in camera.items()}},
        "joint_3d": {"0": {"7": {"world_coord": [[i, 3, 1] for i in range(42)],
                                 "joint_valid": valid}}},
    }  # fmt: skip
    for kind, values in content.items():
        (tmp_path / f"InterHand2.6M_val_{kind}.json").write_text(json.dumps(values))
    return tmp_path


FILES = {
    "freihand": ("evaluation_xyz.json", lambda path: read_freihand(path.parent, "evaluation")),
    "interhand": ("InterHand2.6M_val_data.json", read_interhand),
    "rhd": ("training/anno_training.pickle", read_rhd),
}


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("as_type", [Path, str])
def test_files_of_data_sets_are_read(folder, form, as_type):
    name, read = FILES[form]
    path = folder / name
    assert guess_format(as_type(path)) == form
    expected = read(path)
    for hands in (read_keypoints(as_type(path)), read_keypoints(as_type(path), form)):
        assert torch.equal(hands.uv, expected.uv)
        assert torch.equal(hands.xyz, expected.xyz)
        assert hands.side == expected.side
    assert set(read_keypoints(path, side="left").side) == {"left"}
    with pytest.raises(ValueError, match=f"{path.name}: image_size is for mediapipe, .* is {form}"):
        read_keypoints(path, image_size=(6, 4))


def test_a_format_replaces_that_of_the_name(folder):
    other = folder / "joints.pkl"
    (folder / "training" / "anno_training.pickle").rename(other)
    assert len(read_keypoints(other, "rhd")) == 2
    for name in ("xyz", "K"):
        (folder / f"evaluation_{name}.json").rename(folder / f"mine_{name}.json")
    assert len(read_keypoints(folder / "mine_xyz.json", "freihand")) == 2
    named = folder / "training_xyz.json"
    named.write_text(json.dumps({"people": []}))
    assert len(read_keypoints(named, "openpose")) == 0


def test_joints_outside_of_a_cropped_image_are_not_missing():
    """A crop of 80 x 60 pixels that starts at (100, 50) cuts the hand off on all sides."""
    uv = torch.tensor([[90.0 + 6 * i, 45.0 + 4 * i] for i in range(21)]) - torch.tensor([100, 50])
    rows = [[u, v, 1.0] for u, v in uv.tolist()]
    points = [{"x": u / 80, "y": v / 60, "z": 0.0} for u, v in uv.tolist()]
    joints = {str(j): {"x": 0, "y": 0} for j in range(133)}
    joints |= {str(91 + j): {"x": u, "y": v} for j, (u, v, _) in enumerate(rows)}
    image = {"id": 1, "width": 80, "height": 60}
    files = {
        "mediapipe": points,
        "openpose": {"people": [{"hand_left_keypoints_2d": [x for row in rows for x in row]}]},
        "mmpose": [{"keypoints": uv.tolist(), "keypoint_scores": [1] * 21}],
        "coco": {
            "images": [image],
            "annotations": [{"image_id": 1, "lefthand_kpts": [x for row in rows for x in row]}],
            "categories": [],
        },
        "h3wb": {"0": {"keypoints_2d": joints}},
    }
    for form, content in files.items():
        size = {"image_size": (80, 60)} if form == "mediapipe" else {}
        hands = read_keypoints(content, **size)
        assert guess_format(content) == form
        assert not hands.missing.any()
        assert_close(hands.uv[0], uv)


def test_a_side_replaces_those_of_the_file():
    size = {"image_size": (6, 4)}
    assert read_keypoints(LEGACY, **size).side == ("left",)
    assert read_keypoints(LEGACY, side="right", **size).side == ("right",)
    assert read_keypoints(TASKS, side="right", **size).side == ("right",)  # no mirrored_labels
    assert read_keypoints(MMPOSE, side="left").side == ("left",)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (LEGACY, {}, "keypoints: MediaPipe's coordinates are relative: expected image_size"),
        (COCO, {"image_size": (6, 4)}, "image_size is for mediapipe, .* format is coco"),
        (MMPOSE, {"mirrored_labels": False}, "mirrored_labels is for mediapipe"),
        (LEGACY, {"order": RHD}, "order is for coco and mmpose, .* format is mediapipe"),
        (COCO, {"format": "openpose"}, "expected a field 'people', got images"),
        (COCO, {"format": "vicon"}, "format: expected one of mediapipe, .*, got 'vicon'"),
        (COCO, {"side": "both"}, "side: expected 'right' or 'left', got 'both'"),
        ("nothing", {}, "No such file"),
        (3, {}, "expected fields of one format, got those of none: pass format, one of"),
    ],
)
def test_errors_name_the_argument_to_pass(content, options, message):
    error = FileNotFoundError if content == "nothing" else ValueError
    with pytest.raises(error, match=message):
        read_keypoints(content, **options)
