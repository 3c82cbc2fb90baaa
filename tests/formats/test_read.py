"""One reader for all formats: which one a file has, and which arguments belong to it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from handgraph import RHD
from handgraph.formats import guess_format, read_coco, read_keypoints, read_mediapipe, read_mmpose

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
