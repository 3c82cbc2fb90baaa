"""Data are on the CPU, whatever the default device is.

The device ``meta`` represents a GPU: its tensors have no values and do not mix with others.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from handgraph import HAND, INTERHAND
from handgraph.datasets import (
    FreiHANDKeypoints,
    KeypointDataset,
    NpzKeypoints,
    RHDHands,
    SyntheticHands,
    write_rhd,
)
from handgraph.detectors import HeatmapDetector, Missing, RegressionDetector
from handgraph.formats import (
    read_coco,
    read_freihand,
    read_h3wb,
    read_interhand,
    read_mediapipe,
    read_mmpose,
    read_openpose,
    read_rhd,
)
from handgraph.hub import pretrained_lifter

SYNTHETIC = {
    "image_size": 32, "left_fraction": 0.5, "missing": Missing(share=1.0),
    "detector": (HeatmapDetector(), RegressionDetector()), "progress": False,
}  # fmt: skip
HANDS = SyntheticHands(4, seed=3, **SYNTHETIC)
ARRAYS = {name: HANDS.tensors[name].numpy() for name in ("xyz", "K", "uv", "confidence", "found")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write files of FreiHAND and RHD, and an archive."""
    folder = tmp_path_factory.mktemp("data")
    scale = [hand.s.item() for hand in HANDS]
    records = {"xyz": ARRAYS["xyz"].tolist(), "K": ARRAYS["K"].tolist(), "scale": scale}
    for name, values in records.items():
        (folder / f"training_{name}.json").write_text(json.dumps(values))
    np.savez(folder / "hands.npz", joints=np.array(HAND.joints), **ARRAYS)
    write_rhd(folder, "training", SyntheticHands(4, image_size=32, progress=False))
    return folder


def hands_of(folder, name):
    """Return a dataset with left hands, missing joints, and a transform that does nothing."""
    return {
        "simulated": lambda: SyntheticHands(4, seed=3, **SYNTHETIC),
        "arrays": lambda: KeypointDataset(
            ARRAYS, extra={"name": list("abcd"), "age": np.arange(4)}, transform=lambda hand: hand
        ),
        "no missing joints": lambda: KeypointDataset(
            {"uv": ARRAYS["xyz"][..., :2], "confidence": ARRAYS["confidence"]}
        ),
        "archive": lambda: NpzKeypoints(folder / "hands.npz"),
        "FreiHAND": lambda: FreiHANDKeypoints(folder),
        "RHD": lambda: RHDHands(folder, "training", image_size=24),
    }[name]()


def tensors(value):
    """Return the tensors of a sample, a dict or a list."""
    values = value.to_dict() if hasattr(value, "to_dict") else value
    return {name: x for name, x in dict(values).items() if isinstance(x, torch.Tensor)}


def assert_same(found, expected):
    found, expected = tensors(found), tensors(expected)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].device.type == "cpu", name
        assert torch.equal(found[name].nan_to_num(), values.nan_to_num()), name


@pytest.mark.parametrize(
    "name", ["simulated", "arrays", "no missing joints", "archive", "FreiHAND", "RHD"]
)
def test_datasets(folder, name):
    twin = hands_of(folder, name)
    expected = [twin.tensors, twin[1], twin[1:3].tensors, twin[1:3][1]]
    with torch.device("meta"):
        hands = hands_of(folder, name)
        found = [hands.tensors, hands[1], hands[1:3].tensors, hands[1:3][1]]
        if name == "arrays":
            assert hands[2:].extra["age"].tolist() == [2, 3]
    for some, others in zip(found, expected, strict=True):
        assert_same(some, others)


def test_rendered_images():
    expected = HANDS.render([2, 0])
    with torch.device("meta"):
        found = SyntheticHands(4, seed=3, **SYNTHETIC).render([2, 0])
    assert_same(found, expected)


UV = 5 * np.arange(42).reshape(21, 2) + 1
ROWS = [[*point, 1] for point in UV.tolist()]
VALID = [[1]] * 42
CAMERA = {
    "campos": [0, 0, -900], "camrot": np.eye(3).tolist(), "focal": [500, 500], "princpt": [90, 80],
}  # fmt: skip
POINTS = [{"x": u / 640, "y": v / 480, "z": 0.01} for u, v in UV.tolist()]
JOINTS = {str(j): {"x": j + 1, "y": 3 * j, "z": 9} for j in range(133)}
READERS = {
    "mediapipe": lambda _: read_mediapipe({"multi_hand_landmarks": [POINTS]}, (640, 480)),
    "openpose": lambda _: read_openpose({"people": [{"hand_left_keypoints_2d": 63 * [1]}]}),
    "no hands": lambda _: read_openpose({"people": []}),
    "coco": lambda _: read_coco(
        {
            "images": [
                {"id": 1, "cam_param": {"focal": [5, 5], "princpt": [9, 9]}},
                {"id": 2, "width": 640, "height": 480},
            ],
            "categories": [{"id": 1, "keypoints": list(HAND.joints)}],
            "annotations": [
                {"image_id": 1, "category_id": 1, "keypoints": ROWS, "joint_cam": ROWS},
                {"image_id": 2, "category_id": 1, "keypoints": ROWS},
            ],
        }
    ),
    "mmpose": lambda _: read_mmpose([{"keypoints": UV, "keypoint_scores": np.ones(21)}]),
    "h3wb": lambda _: read_h3wb({"0": {"keypoints_2d": JOINTS, "keypoints_3d": JOINTS}}),
    "interhand": lambda _: read_interhand(
        {
            "images": [{"id": 1, "capture": 0, "camera": "4", "frame_idx": 7}],
            "annotations": [{"image_id": 1, "joint_valid": VALID}],
        },
        {"0": {key: {"4": value} for key, value in CAMERA.items()}},
        {"0": {"7": {
            "world_coord": [[i, 2 * i, 5] for i in range(INTERHAND.num_joints)],
            "joint_valid": VALID,
        }}},
    ),
    "freihand": read_freihand,
    "rhd": lambda folder: read_rhd(folder / "training" / "anno_training.pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_readers(folder, name):
    expected = READERS[name](folder)
    with torch.device("meta"):
        hands = READERS[name](folder)
        missing = hands.missing
    assert_same(vars(hands), vars(expected))
    assert torch.equal(missing, expected.missing)


def test_lifter():
    """The lifter and its estimates are on the CPU, also of arrays."""
    rows = ARRAYS["uv"], ARRAYS["confidence"][..., 0]
    expected = pretrained_lifter().estimate(*rows)
    with torch.device("meta"):
        found = pretrained_lifter().estimate(*rows)
    assert_same(found._asdict(), expected._asdict())
