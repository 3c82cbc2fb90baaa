"""H3WB's whole bodies are converted to left and right hands, in pixels and in 3D."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch.testing import assert_close

from handgraph.formats import read_h3wb

UV = torch.tensor([[5.5 * j + 1, 7.0 * j] for j in range(133)])
XYZ = torch.tensor([[-41.5 + j, -1502.5 + j, -198.0 + 2 * j] for j in range(133)])  # mm


def joints(points):
    return {str(j): dict(zip("xyz", row, strict=False)) for j, row in enumerate(points.tolist())}


def sample(**changes):
    both = {"keypoints_2d": joints(UV), "keypoints_3d": joints(XYZ)}
    box = {"x_min": 371, "y_min": 180, "x_max": 523, "y_max": 609}
    return {"image_path": "S5_Wäiting_1.60457274_003051.jpg", "bbox": box, **both, **changes}


def write(path, *samples):
    content = {str(8 * i): value for i, value in enumerate(samples)}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    return path


def test_hands_by_value(tmp_path):
    hands = read_h3wb(write(tmp_path / "2Dto3D_train.json", sample(), sample()))
    assert hands.side == ("left", "right") * 2
    assert hands.name == ("S5_Wäiting_1.60457274_003051.jpg",) * 4
    for hand, first in ((0, 91), (1, 112), (3, 112)):
        assert_close(hands.uv[hand], UV[first : first + 21])
        assert_close(hands.xyz[hand], XYZ[first : first + 21] / 1000)
    assert hands.score is None
    assert hands.K is None
    assert hands.image_size is None


def test_masked_joints_are_missing(tmp_path):
    """I2Dto3D masks one joint of the left hand and the whole right hand, with integer zeros."""
    uv = joints(UV)
    for j in (95, *range(112, 133)):
        uv[str(j)] = {"x": 0, "y": 0}
    uv["96"] = {"x": 0, "y": 3}
    lifted = sample(keypoints_2d=uv)
    del lifted["keypoints_3d"], lifted["image_path"]
    hands = read_h3wb(write(tmp_path / "I2Dto3D_test_2d.json", lifted))
    assert hands.side == ("left",)
    assert hands.name == ("I2Dto3D_test_2d 0",)
    assert hands.missing.nonzero().tolist() == [[0, 4]]
    assert hands.uv[0, 5].tolist() == [0, 3]
    assert hands.xyz is None


def test_no_samples():
    assert len(read_h3wb({})) == 0


def without(key, joint=None, axis=None):
    value = copy.deepcopy(sample())
    parent = value if joint is None else value[key] if axis is None else value[key][joint]
    del parent[key if joint is None else joint if axis is None else axis]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (without("keypoints_2d"), "sample 8: no keypoints_2d: 2Dto3D"),  # RGBto3D
        ({"bbox": {}}, "sample 8: expected a field 'keypoints_2d', got bbox"),
        (without("keypoints_2d", "132"), "sample 8: keypoints_2d: expected a field '132'"),
        (
            without("keypoints_3d", "91", "z"),
            "sample 8: keypoints_3d: joint 91: expected a field 'z', got x, y",
        ),
        (sample(keypoints_2d=[[1, 2]] * 133), "sample 8: keypoints_2d: expected a JSON object"),
        (sample(keypoints_2d=joints(UV) | {"91": {"x": None}}), "sample 8: .* 91: x: .* None"),
        ([], r"sample 8: expected a JSON object, got \[\]"),
    ],
)
def test_errors_name_the_position_in_the_file(tmp_path, value, message):
    with pytest.raises(ValueError, match=f"train.json: {message}"):
        read_h3wb(write(tmp_path / "train.json", sample(), value))
