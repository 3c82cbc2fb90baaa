"""3D hands from a photo: with files, and with a fake MediaPipe."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import photo
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.formats import read_mediapipe
from handgraph.hub import pretrained_lifter, to_camera

IMAGES = Path(photo.__file__).parent / "images"
SIZE = 320


@pytest.fixture(scope="module")
def hand():
    """Return the hand in the example's image."""
    settings = {"occluder_fraction": 0.0, "severe_fraction": 0.0, "left_fraction": 0.5}
    return SyntheticHands(10, seed=0, image_size=SIZE, progress=False, **settings)[9]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the example; return the hands of its JSON, its output and its picture."""

    def run(*arguments, name="hand"):
        out = tmp_path / "new" / "out"
        monkeypatch.setattr(sys, "argv", ["photo.py", *map(str, arguments), "--out", str(out)])
        photo.main()
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        found = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        return found["hands"], capsys.readouterr().out

    return run


def test_demo_is_the_hand_of_its_image(run, hand):
    known = ("--keybone", hand.s.item(), "--focal", hand.K[0, 0, 0].item())
    (found,), printed = run(*known)
    assert found["side"] == "left"
    assert bool(hand.left)
    assert found["missing"] == []
    assert list(found["xyz"]) == list(found["uv"]) == list(HAND.joints)
    uv, xyz = (torch.tensor(list(found[name].values())) for name in ("uv", "xyz"))
    assert (uv - hand.uv_true).norm(dim=-1).mean() < 6
    assert xyz[0, 2].item() == pytest.approx(hand.xyz[0, 2].item(), rel=0.15)
    relative = (xyz - xyz[0]) - (hand.xyz - hand.xyz[0])
    assert relative.norm(dim=-1).mean() < 0.02
    assert f"left hand, {xyz[0, 2]:.2f} m away" in printed


def test_hands_are_those_of_the_library(run):
    (found,), _ = run()
    hands = read_mediapipe(IMAGES / "hand.json", (SIZE, SIZE))
    pose = pretrained_lifter()(hands.uv[0], depth=hands.depth[0], side="left")
    focal, middle = photo.FOCAL * SIZE, (SIZE - 1) / 2
    K = torch.tensor([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    distance = found["xyz"]["wrist"][2]
    expected = to_camera(pose, hands.uv[0], K, keybone=0.047, root_depth=distance)
    assert_close(torch.tensor(list(found["xyz"].values())), expected, atol=2e-4, rtol=0)


def fake_mediapipe(results, seen):
    """Fake the part of MediaPipe 0.10.21 that the example uses; images are stored in ``seen``."""
    output = namedtuple(
        "SolutionOutputs",
        ["multi_hand_landmarks", "multi_hand_world_landmarks", "multi_handedness"],
    )

    class Hands:
        def __init__(
            self,
            static_image_mode=False,
            max_num_hands=2,
            model_complexity=1,
            min_detection_confidence=0.5,
            min_tracking_confidence=0.5,
        ):
            seen.append(static_image_mode)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            seen.append("closed")

        def process(self, image):
            seen.append(image)
            if not results:
                return output(None, None, None)
            landmarks = [SimpleNamespace(landmark=points) for points, _ in results]
            labels = [
                SimpleNamespace(classification=[SimpleNamespace(index=0, score=0.9, label=label)])
                for _, label in results
            ]
            return output(landmarks, landmarks, labels)

    module = ModuleType("mediapipe")
    module.solutions = SimpleNamespace(hands=SimpleNamespace(Hands=Hands))
    return module


def landmarks(shift=0.0):
    """Return the landmarks of the example's file as objects."""
    (hand,) = json.loads((IMAGES / "hand.json").read_text())["multi_hand_landmarks"]
    return [
        SimpleNamespace(x=p["x"] + shift, y=p["y"], z=p["z"], visibility=0.0, presence=0.0)
        for p in hand["landmark"]
    ]


def test_mediapipe_finds_the_hands(run, monkeypatch):
    seen = []
    results = [(landmarks(), "Right"), (landmarks(0.1), "Left")]
    monkeypatch.setitem(sys.modules, "mediapipe", fake_mediapipe(results, seen))
    hands, printed = run(IMAGES / "hand.jpg")
    still, image, closed = seen
    assert still is True
    assert closed == "closed"
    assert (image.shape, image.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert image.flags.c_contiguous
    assert image[300, 10].tolist() == photo.read_image(IMAGES / "hand.jpg")[:, 300, 10].tolist()
    assert [hand["side"] for hand in hands] == ["left", "right"]
    assert hands[1]["uv"]["wrist"][0] == pytest.approx(hands[0]["uv"]["wrist"][0] + 32, abs=1e-3)
    assert hands[0] == run()[0][0]
    assert "hand.jpg: 2 ->" in printed


def test_no_hand_is_no_error(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", fake_mediapipe([], []))
    hands, printed = run(IMAGES / "hand.jpg")
    assert hands == []
    assert "hand.jpg: 0 ->" in printed


@pytest.mark.parametrize("module", [None, ModuleType("mediapipe")])
def test_without_mediapipe_landmarks_are_needed(run, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    with pytest.raises(SystemExit, match=r"pip install mediapipe==0.10.21, or give --landmarks"):
        run(IMAGES / "hand.jpg")


def test_other_formats_are_read(run, tmp_path):
    uv = read_mediapipe(IMAGES / "hand.json", (SIZE, SIZE)).uv[0].tolist()
    rows = [[0, 0, 0] if i == 8 else [*point, 0.9] for i, point in enumerate(uv)]
    person = {"hand_left_keypoints_2d": [x for row in rows for x in row]}
    (tmp_path / "a.json").write_text(json.dumps({"people": [person]}))
    file = ("--landmarks", tmp_path / "a.json")
    (hand,), _ = run(IMAGES / "hand.jpg", *file)
    assert hand["missing"] == ["index_tip"]
    assert set(HAND.joints) - set(hand["uv"]) == {"index_tip"}
    assert len(hand["xyz"]) == 21


def test_side_is_required_if_the_file_lacks_it(run, tmp_path):
    uv = read_mediapipe(IMAGES / "hand.json", (SIZE, SIZE)).uv[0].tolist()
    (tmp_path / "a.json").write_text(json.dumps([{"keypoints": uv, "keypoint_scores": [1.0] * 21}]))
    file = ("--landmarks", tmp_path / "a.json")
    with pytest.raises(SystemExit, match=r"a.json has no side of the hand: expected --side"):
        run(IMAGES / "hand.jpg", *file)
    (hand,), _ = run(IMAGES / "hand.jpg", *file, "--side", "right")
    assert hand["side"] == "right"


def test_landmarks_alone_are_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--landmarks", IMAGES / "hand.json")
    assert "--landmarks needs the photo" in capsys.readouterr().err
