"""COCO annotations are matched by the joint names of their category."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, INTERHAND, RHD
from handgraph.formats import read_coco

FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
NUMBERED = ["wrist", *(f"{finger}{i}" for finger in FINGERS for i in (1, 2, 3, 4))]
BACKWARDS = [*(f"{finger}{i}" for finger in FINGERS for i in (4, 3, 2, 1)), "wrist"]
UV = torch.tensor([[10.0 * i + 5, 7.0 * i + 3] for i in range(21)])  # in the order of HAND


def rows(index=range(21), v=1):
    """Return the joints of ``UV`` in another order."""
    return [[*UV[i].tolist(), v] for i in index]


def coco(names, *annotations, **image):
    return {
        "info": {"description": "Hände", "year": 2020},
        "licenses": "",
        "images": [{"id": 33, "file_name": "bild/ä.jpg", "width": 640, "height": 480, **image}],
        "annotations": [
            {"id": i, "image_id": 33, "category_id": 1, "iscrowd": 0, **annotation}
            for i, annotation in enumerate(annotations)
        ],
        "categories": [{"id": 1, "name": "hand", "supercategory": "hand", "keypoints": names}],
    }


INTERHAND2D = [HAND.index(j.removeprefix("right_")) for j in INTERHAND.joints[:21]]
ANATOMY = {"thumb_mcp": "Thumb CMC", "thumb_pip": "Thumb MCP", "thumb_dip": "Thumb IP"}


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (NUMBERED, range(21)),
        (BACKWARDS, INTERHAND2D),
        (list(RHD.joints), [HAND.index(joint) for joint in RHD.joints]),
        ([ANATOMY.get(joint, joint) for joint in HAND.joints], range(21)),
        (["elbow", *NUMBERED], [0, *range(21)]),
    ],
    ids=["OneHand10K", "InterHand2D", "RHD by name", "anatomy", "more joints"],
)
@pytest.mark.parametrize("flat", [True, False])
def test_joints_are_matched_by_name(tmp_path, names, index, flat):
    points = rows(index)
    points = [x for row in points for x in row] if flat else points
    path = tmp_path / "hände.json"
    content = coco(names, {"keypoints": points})
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    hands = read_coco(path)
    assert_close(hands.uv[0], UV)
    assert hands.side == (None,)
    assert hands.name == ("bild/ä.jpg",)
    assert hands.image_size.tolist() == [[640, 480]]
    assert hands.xyz is None
    assert hands.K is None


def rhd(points, **annotation):
    content = coco(
        NUMBERED,
        {"keypoints": points, "hand_type": "left", **annotation},
        cam_param={"focal": [299, 300.0], "princpt": [160, 161]},
    )
    content["info"]["description"] = "RHD"
    return content


def test_mmpose_rhd_orders_fingers_from_the_tip():
    index = [HAND.index(joint) for joint in RHD.joints]
    cam = [[1000.0 * i, 0, 500] for i in index]
    hands = read_coco(rhd(rows(index), joint_cam=cam))
    assert_close(hands.uv[0], UV)
    assert hands.side == ("left",)
    assert hands.xyz[0, :, 0].tolist() == list(range(21))  # metres
    assert hands.xyz[0, 4, 2] == 0.5
    assert hands.K[0].tolist() == [[299, 0, 160], [0, 300, 161], [0, 0, 1]]


def test_an_order_replaces_the_names():
    index = [HAND.index(joint) for joint in RHD.joints]
    hands = read_coco(coco(NUMBERED, {"keypoints": rows(index)}), order=RHD)
    assert_close(hands.uv[0], UV)
    content = coco(None, {"keypoints": rows(index)})
    del content["categories"]
    assert_close(read_coco(content, order=RHD).uv[0], UV)


def test_two_hands_in_one_annotation():
    index = [HAND.index(joint.split("_", 1)[1]) for joint in INTERHAND.joints]
    points = rows(index)
    points[:21] = [[u + 300, v, flag] for u, v, flag in points[:21]]
    hands = read_coco(coco(list(INTERHAND.joints), {"keypoints": points}))
    assert hands.side == ("left", "right")
    assert_close(hands.uv[0], UV)
    assert_close(hands.uv[1], UV + torch.tensor([300, 0]))
    points[21:] = [[0, 0, 0]] * 21
    hands = read_coco(coco(list(INTERHAND.joints), {"keypoints": points, "hand_type": "right"}))
    assert hands.side == ("right",)


def test_whole_bodies_have_a_left_and_a_right_hand():
    left = [x for row in rows(v=2.0) for x in row]
    body = {
        "keypoints": 51 * [0],
        "num_keypoints": 0,
        "face_kpts": 204 * [0],
        "foot_kpts": 18 * [0],
    }
    people = [
        {**body, "lefthand_kpts": left, "righthand_kpts": 63 * [0], "lefthand_valid": True},
        {**body, "lefthand_kpts": 63 * [0.0], "righthand_kpts": 63 * [0.0]},
        {**body, "lefthand_kpts": [], "righthand_kpts": [0, 0, 0, *left[3:]]},
    ]
    hands = read_coco(coco(["nose", "left_wrist"], *people))
    assert hands.side == ("left", "right")
    assert_close(hands.uv[0], UV)
    assert hands.missing.sum(dim=1).tolist() == [0, 1]
    assert hands.score[:, 0].tolist() == [1, 0]


def test_names_of_whole_bodies_tell_the_wrist_of_the_hand_from_the_bodys():
    names = ["nose", "left_wrist", "right_wrist", "left_hand_root"]
    names += [f"left_{joint}" for joint in NUMBERED[1:]]
    hands = read_coco(coco(names, {"keypoints": [[900, 900, 2]] * 3 + rows()}))
    assert hands.side == ("left",)
    assert_close(hands.uv[0], UV)


@pytest.mark.parametrize(
    ("v", "expected"),
    [
        ([0, 1, 2], [0, 0.5, 1]),
        ([0.0, 1.0, 1.0], [0, 0.5, 0.5]),
        ([0, 0.5, 2], [0, 0.25, 1]),
        ([0, 0.5, 1], [0, 0.5, 1]),
        ([0.2, 0.9, 1.0], [0.2, 0.9, 1]),
    ],
)
def test_flags_and_scores(v, expected):
    points = [[u, w, flag] for (u, w, _), flag in zip(rows(), v * 7, strict=True)]
    hands = read_coco(coco(NUMBERED, {"keypoints": points}))
    assert_close(hands.score[0, :3], torch.tensor(expected))
    assert hands.missing[0].tolist() == [flag == 0 for flag in v * 7]


def test_annotations_without_joints_are_no_hands():
    hands = read_coco(coco(NUMBERED, {"keypoints": []}, {"keypoints": rows(v=0)}))
    assert len(hands) == 0
    assert len(read_coco(coco(NUMBERED))) == 0


def wrong(change):
    content = coco(NUMBERED, {"keypoints": rows()}, {"keypoints": rows()})
    change(content, content["annotations"][1])
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a: a.update(image_id=5), r"annotations\[1\]: image_id: expected an id .* got 5"),
        (lambda c, a: a.update(category_id=2), r"annotations\[1\]: category_id: .* got 2"),
        (lambda c, a: a.pop("keypoints"), r"annotations\[1\]: expected a field 'keypoints'"),
        (
            lambda c, a: a.update(keypoints=rows()[:20]),
            r"\[1\]: keypoints: expected 21 rows of 3",
        ),
        (lambda c, a: a.update(keypoints=[[1, 2]] * 21), r"keypoints\[0\]: expected 3 numbers"),
        (lambda c, a: a.update(keypoints=rows(v=3)), r"\[1\]: keypoints: expected v from 0 to 2"),
        (lambda c, a: a.update(hand_type="both"), r"\[1\]: hand_type: expected left, right or"),
        (lambda c, a: c["images"][0].update(id=[1]), r"images\[0\]: id: expected a whole number"),
        (lambda c, a: c.pop("images"), "expected a field 'images'"),
        (lambda c, a: c.pop("categories"), "expected a field 'categories'"),
        (
            lambda c, a: c["categories"][0].update(keypoints=NUMBERED[1:]),
            "category 1: .* wrist not",
        ),
        (lambda c, a: c["categories"][0].update(keypoints=NUMBERED * 2), "two joints are wrist"),
        (lambda c, a: c["categories"][0].pop("keypoints"), "category 1: expected a field 'keyp"),
        (lambda c, a: c["images"][0].update(cam_param={}), "cam_param: expected a field 'focal'"),
        (lambda c, a: c["images"][0].update(width="w"), "width: expected a finite number, got 'w'"),
    ],
)
def test_errors_name_the_position_in_the_file(tmp_path, change, message):
    path = tmp_path / "hands.json"
    path.write_text(json.dumps(wrong(change)))
    with pytest.raises(ValueError, match=f"hands.json: .*{message}"):
        read_coco(path)


def test_content_is_not_changed():
    content = rhd(rows())
    before = copy.deepcopy(content)
    read_coco(content)
    assert content == before
