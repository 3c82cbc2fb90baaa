"""InterHand2.6M's hands are converted from world to camera coordinates in the order of ``HAND``."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from handgraph import HAND, INTERHAND
from handgraph.formats import read_interhand

RNG = np.random.default_rng(0)
WORLD = RNG.uniform([-100, -100, 900], [100, 100, 1100], (42, 3))  # mm
R = Rotation.from_euler("xyz", [170, 20, 15], degrees=True).as_matrix()
T = -R.T @ [10, 20, 50] + [0, 0, 2000.0]  # a camera above the hands that looks down
FOCAL, CENTRE = [1261.5, 1262], [171.25, 269.0]
ORDER = [
    [INTERHAND.joints.index(f"{side}_{joint}") for joint in HAND.joints]
    for side in ("right", "left")
]


def valid(*lost):
    return [[int(i not in lost)] for i in range(42)]


def files(inside=None, annotated=None, hand_type="interacting"):
    """Return the content of data, camera and joint_3d, with a second capture, camera and frame."""
    image = {
        "id": 326750, "file_name": "Capture3/ü/cam400026/image69148.jpg", "width": 334,
        "height": 512, "capture": 3, "subject": 3, "seq_name": "0390_dh_touchROM",
        "camera": "400026", "frame_idx": 69148,
    }  # fmt: skip
    annotation = {
        "id": 326750, "image_id": 326750, "bbox": [33.5, 164, 185, 142],
        "joint_valid": inside or valid(), "hand_type": hand_type, "hand_type_valid": 1,
    }  # fmt: skip
    other = {"400012": [0, 0, 0]}
    camera = {
        "campos": {**other, "400026": T.tolist()},
        "camrot": {"400012": np.eye(3).tolist(), "400026": R.tolist()},
        "focal": {"400012": [1, 1], "400026": FOCAL},
        "princpt": {"400012": [0, 0], "400026": CENTRE},
    }
    frame = {
        "world_coord": WORLD.tolist(),
        "joint_valid": [[bool(i)] for [i] in annotated or valid()],
        "hand_type": hand_type, "hand_type_valid": True, "seq": "0390_dh_touchROM",
    }  # fmt: skip
    data = {"images": [{**image, "id": 7, "camera": "400012"}, image], "annotations": [annotation]}
    return data, {"0": {}, "3": camera}, {"0": {}, "3": {"1": {}, "69148": frame}}


def write(folder, contents):
    for kind, content in zip(("data", "camera", "joint_3d"), contents, strict=True):
        path = folder / f"InterHand2.6M_välidation_{kind}.json"
        text = json.dumps(content, ensure_ascii=False)
        path.write_text(text, encoding="utf-8-sig")
    return folder / "InterHand2.6M_välidation_data.json"


def expected():
    """Project as InterNet does: rotate relative to the camera position, then divide by depth."""
    cam = np.stack([R @ (joint - T) for joint in WORLD])
    assert (cam[:, 2] > 0).all()
    uv = cam[:, :2] / cam[:, 2:] * FOCAL + CENTRE
    return torch.tensor(uv).float(), torch.tensor(cam / 1000).float()


def test_both_hands_of_an_image(tmp_path):
    hands = read_interhand(write(tmp_path, files()))
    uv, xyz = expected()
    assert hands.side == ("right", "left")
    for hand, index in enumerate(ORDER):
        assert_close(hands.uv[hand], uv[index])
        assert_close(hands.xyz[hand], xyz[index])
    assert hands.K[0].tolist() == [[1261.5, 0, 171.25], [0, 1262, 269], [0, 0, 1]]
    assert hands.image_size.tolist() == [[334, 512]] * 2
    assert hands.name == ("Capture3/ü/cam400026/image69148.jpg",) * 2
    assert hands.score is None
    assert not hands.missing.any()


def test_joint_valid_masks_combine_both_files():
    """Joint 4 is outside the image, 5 is not annotated, 6 is marked as inside but not annotated."""
    tip, dip, pip = (INTERHAND.joints[i].removeprefix("right_") for i in (4, 5, 6))
    hands = read_interhand(*files(inside=valid(4, 5), annotated=valid(5, 6)))
    assert hands.missing.nonzero().tolist() == sorted([0, HAND.index(j)] for j in (tip, dip, pip))
    unknown = hands.xyz.isnan().any(dim=-1)
    assert unknown.nonzero().tolist() == sorted([0, HAND.index(j)] for j in (dip, pip))


@pytest.mark.parametrize(("side", "lost"), [("left", range(21)), ("right", range(21, 42))])
def test_one_hand(side, lost):
    hands = read_interhand(*files(valid(*lost), valid(*lost), hand_type=side))
    assert hands.side == (side,)
    assert_close(hands.uv[0], expected()[0][ORDER[side == "left"]])


def test_joints_behind_the_camera_are_missing():
    data, camera, joints = files()
    joints["3"]["69148"]["world_coord"][20] = (T - R[2]).tolist()  # right wrist, 1 mm behind it
    hands = read_interhand(data, camera, joints)
    assert hands.missing.nonzero().tolist() == [[0, 0]]
    assert_close(hands.xyz[0, 0, 2].item(), -0.001)


def test_one_frame_from_two_cameras():
    data, camera, joints = files()
    data["annotations"].append({**data["annotations"][0], "image_id": 7})
    hands = read_interhand(data, camera, joints)
    assert hands.side == ("right", "left") * 2
    assert_close(hands.xyz[2:], torch.tensor(WORLD[ORDER] / 1000).float())


def test_files_without_hands():
    data, camera, joints = files(inside=valid(*range(42)))
    assert len(read_interhand(data, camera, joints)) == 0
    assert len(read_interhand({**data, "annotations": []}, camera, joints)) == 0


def test_camera_and_joint_files_are_found_in_the_folder(tmp_path):
    path = write(tmp_path, files())
    (tmp_path / "hands.json").write_text(json.dumps(files()[0]))
    for args in ((files()[0],), (tmp_path / "hands.json",)):
        with pytest.raises(ValueError, match="expected camera, unless data is a file"):
            read_interhand(*args)
    (tmp_path / "InterHand2.6M_välidation_joint_3d.json").unlink()
    with pytest.raises(FileNotFoundError, match="välidation_joint_3d.json"):
        read_interhand(path)
    assert len(read_interhand(path, joint_3d=files()[2])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, c, j: d.pop("annotations"), "data.json: expected a field 'annotations'"),
        (
            lambda d, c, j: d["annotations"][0].pop("joint_valid"),
            r"data.json: annotations\[0\]:",
        ),
        (lambda d, c, j: d["annotations"][0].update(image_id=1), r"\[0\]: image_id: .* got 1"),
        (
            lambda d, c, j: d["annotations"][0].update(joint_valid=[]),
            r"\[0\]: joint_valid: .* 0$",
        ),
        (lambda d, c, j: d["annotations"][0].update(joint_valid=[2] * 42), r"valid\[0\]: .* got 2"),
        (lambda d, c, j: d["images"][1].pop("frame_idx"), r"annotations\[0\]: its image: expected"),
        (lambda d, c, j: d["images"][1].update(width="w"), "image's width: expected a finite"),
        (lambda d, c, j: d["images"][1].update(capture=5), "camera.json: expected a field '5'"),
        (lambda d, c, j: c["3"]["focal"].clear(), "camera.json: 3: focal: .* '400026', got none"),
        (lambda d, c, j: c["3"].pop("campos"), "camera.json: 3: expected a field 'campos'"),
        (
            lambda d, c, j: c["3"]["camrot"].update({"400026": [1, 2]}),
            "camera.json: 3: camera 400026 camrot: expected 3 rows of 3",
        ),
        (lambda d, c, j: j["3"].pop("69148"), "joint_3d.json: 3: expected a field '69148', got 1$"),
        (
            lambda d, c, j: j["3"]["69148"]["world_coord"].pop(),
            "joint_3d.json: 3: frame 69148: world_coord: expected 42 rows of 3",
        ),
        (
            lambda d, c, j: j["3"]["69148"]["joint_valid"].append(["yes"]),
            r"frame 69148: joint_valid\[42\]: expected 0, 1, true or false, got \['yes'\]",
        ),
    ],
)
def test_errors_name_the_position_in_the_file(tmp_path, change, message):
    contents = files()
    change(*contents)
    with pytest.raises(ValueError, match=message):
        read_interhand(write(tmp_path, contents))


def test_content_is_not_changed():
    contents = files()
    before = copy.deepcopy(contents)
    read_interhand(*contents)
    assert contents == before
