"""MediaPipe's results, as objects or JSON, are converted to hands in pixels."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from handgraph.formats import guess_format, read_mediapipe

SIZE = (640, 480)
POINTS = [{"x": i / 32, "y": i / 64, "z": -i / 128} for i in range(21)]
UV = torch.tensor([[20.0 * i, 7.5 * i] for i in range(21)])
DEPTH = torch.tensor([-5.0 * i for i in range(21)])


def legacy(*labels):
    return {
        "multi_hand_landmarks": [{"landmark": POINTS} for _ in labels],
        "multi_handedness": [
            {"classification": [{"index": i, "score": 0.98, "label": label}]}
            for i, label in enumerate(labels)
        ],
    }


def tasks(*labels):
    points = [{**point, "visibility": 0.0, "presence": 0.0} for point in POINTS]
    return {
        "hand_landmarks": [points for _ in labels],
        "hand_world_landmarks": [points for _ in labels],
        "handedness": [
            [{"index": 0, "score": 0.9, "display_name": label, "category_name": label}]
            for label in labels
        ],
    }


def web(*labels):
    return {
        "landmarks": [POINTS for _ in labels],
        "handednesses": [[{"score": 0.9, "categoryName": label}] for label in labels],
    }


def objects(value):
    """Return the results as objects with attributes, as in the Python interface."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: objects(entry) for key, entry in value.items()})
    return [objects(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("form", [legacy, tasks, web])
@pytest.mark.parametrize("wrap", [dict, objects])
def test_landmarks_become_pixels(form, wrap):
    hands = read_mediapipe(wrap(form("Left", "Right")), SIZE, mirrored_labels=True)
    assert_close(hands.uv, UV.expand(2, -1, -1))
    assert_close(hands.depth, DEPTH.expand(2, -1))
    assert hands.score is None
    assert hands.side == ("right", "left")
    assert hands.image_size.tolist() == [[640, 480]] * 2


def test_the_legacy_api_names_the_mirror_image():
    assert read_mediapipe(legacy("Right"), SIZE).side == ("left",)
    assert read_mediapipe(legacy("Right"), SIZE, mirrored_labels=False).side == ("right",)


def test_tasks_results_need_mirrored_labels():
    with pytest.raises(ValueError, match="MediaPipe: handedness: pass mirrored_labels"):
        read_mediapipe(tasks("Left"), SIZE)
    unnamed = {"hand_landmarks": [POINTS]}
    assert read_mediapipe(unnamed, SIZE).side == (None,)
    assert read_mediapipe(tasks("Left"), SIZE, mirrored_labels=False).side == ("left",)


@pytest.mark.parametrize("wrap", [lambda value: value, objects])
@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"landmark": POINTS}, ["hand"]),
        (POINTS, ["hand"]),
        ([{"landmark": POINTS}, {"landmark": POINTS}], ["hand 0", "hand 1"]),
        ([POINTS, POINTS], ["hand 0", "hand 1"]),
    ],
)
def test_landmarks_without_a_result_have_no_side(tmp_path, wrap, content, names):
    sources = {"MediaPipe": wrap(content), "hand": tmp_path / "hand.json"}
    sources["hand"].write_text(json.dumps(content))
    for title, source in sources.items():
        hands = read_mediapipe(source, SIZE)
        assert_close(hands.uv, UV.expand(len(names), -1, -1))
        assert_close(hands.depth, DEPTH.expand(len(names), -1))
        assert hands.side == (None,) * len(names)
        assert hands.name == tuple(name.replace("hand", title) for name in names)
        assert guess_format(source) == "mediapipe"


def test_images_without_hands_have_none(tmp_path):
    nothing = SimpleNamespace(multi_hand_landmarks=None, multi_handedness=None)
    assert len(read_mediapipe(nothing, SIZE)) == 0
    path = tmp_path / "vidéo.json"
    path.write_text(json.dumps([legacy(), legacy("Left"), tasks()]), encoding="utf-8-sig")
    hands = read_mediapipe(path, SIZE)
    assert hands.name == ("vidéo 1",)
    assert hands.uv.shape == (1, 21, 2)


def wrong(change):
    content = legacy("Right")
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"people": []}, "hand.json: expected multi_hand_landmarks, hand_landmarks or landmarks"),
        (
            wrong(lambda c: c["multi_hand_landmarks"][0].update(landmark=POINTS[:20])),
            r"multi_hand_landmarks\[0\]: expected 21 landmarks, got 20",
        ),
        (
            wrong(lambda c: c["multi_hand_landmarks"][0].update(landmark=[*POINTS[:20], {"x": 1}])),
            r"multi_hand_landmarks\[0\]\[20\].y: expected a finite number, got None",
        ),
        (
            wrong(lambda c: c.update(multi_handedness=[])),
            "multi_handedness: expected 1 entries, got 0",
        ),
        (
            wrong(lambda c: c["multi_handedness"][0].update(classification=[{"label": "up"}])),
            r"multi_handedness\[0\]: expected 'Left' or 'Right', got 'up'",
        ),
        ([legacy(), 3], r"\[1\]: expected multi_hand_landmarks"),
        (wrong(lambda c: c.update(multi_hand_landmarks=4)), "landmarks: expected a list, got 4"),
        (POINTS[:20], "hand.json: expected 21 landmarks, got 20"),
        ([POINTS, POINTS[:3]], r"hand.json: \[1\]: expected 21 landmarks, got 3"),
        (
            "hand",
            "hand.json: expected multi_hand_landmarks, hand_landmarks or landmarks, got 'hand",
        ),
    ],
)
def test_errors_name_the_position_in_the_file(tmp_path, content, message):
    path = tmp_path / "hand.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_mediapipe(path, SIZE)


@pytest.mark.parametrize("size", [(0, 480), (640, float("nan"))])
def test_sizes_of_no_image_are_refused(size):
    with pytest.raises(ValueError, match="image_size"):
        read_mediapipe(legacy("Right"), size)


def test_no_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    for name in ("a.json", "b.json"):
        with pytest.raises(ValueError, match=f"{name}: expected JSON in UTF-8"):
            read_mediapipe(tmp_path / name, SIZE)
    with pytest.raises(FileNotFoundError):
        read_mediapipe(tmp_path / "c.json", SIZE)


@pytest.mark.parametrize("size", [640, (640,), (480, 640, 3)])
@pytest.mark.parametrize("labels", [(), ("Left",)])
def test_the_size_of_an_image_is_two_numbers(size, labels):
    """An array's shape has the height first, and three entries."""
    with pytest.raises(ValueError, match=r"image_size: expected \(width, height\) in pixels, got"):
        read_mediapipe(legacy(*labels), size)
