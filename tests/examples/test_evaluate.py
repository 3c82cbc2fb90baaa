"""The output of evaluate.py and predict.py matches closed forms and slow references."""

import json
import re
import subprocess
import sys
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import evaluate
import numpy as np
import predict
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.geometry import crop_matrix, normalize_uv, transform_points, uvd_to_camera
from handgraph.video import Pose
from pipeline.scores import RANGES, Predictions, counts, markdown, row
from pipeline.scores import predict as predict_all
from psjnet import PoseNet, detection
from shared.pictures import save_curves

EXAMPLES = Path(__file__).parents[2] / "examples"
JOINTS = HAND.num_joints


def made_up(offset, num_visible):
    """Return predictions that are shifted by ``metres`` in x, one row per image."""
    true = torch.rand(len(offset), JOINTS, 3, generator=torch.Generator().manual_seed(0))
    uv = torch.zeros(len(offset), JOINTS, 2)
    shift = torch.tensor(offset)[:, None, None] * torch.tensor([1.0, 0, 0])
    visible = torch.arange(JOINTS) < torch.tensor(num_visible)[:, None]
    return Predictions(true + shift, uv, uv + torch.tensor([3.0, 4.0]), true, uv, visible)


def area(error, low, high, steps=20):
    """Return the AUC of a PCK curve that steps from 0 to 1 at ``error``, by the trapezoid rule."""
    grid = [low + (high - low) * i / (steps - 1) for i in range(steps)]
    hits = [float(error <= t) for t in grid]
    return sum((a + b) / 2 for a, b in pairwise(hits)) / (steps - 1)


@pytest.mark.parametrize(
    ("how", "low", "high"),
    list(zip(RANGES, (0, 0, 0.02, 0), (0.05, 0.05, 0.05, 0.03), strict=True)),
)
def test_a_row_is_the_closed_form(how, low, high):
    net = made_up([0.0101, 0.0101, 0.0251], [21, 21, 7])
    result = row("a net", [net], how)
    near, far = area(0.0101, low, high), area(0.0251, low, high)
    assert result.auc["small"].value.item() == pytest.approx(near, abs=1e-5)
    assert result.auc["severe"].value.item() == pytest.approx(far, abs=1e-5)
    assert result.relative.value.item() == pytest.approx(far / near, abs=1e-4)
    pooled = (42 * near + 7 * far) / 49
    by_joint = (7 * (2 * near + far) / 3 + 14 * near) / 21
    wanted = pooled if how.average == "pooled" else by_joint
    assert result.auc["all"].value.item() == pytest.approx(wanted, abs=1e-5)
    assert result.millimetres == pytest.approx((42 * 10.1 + 7 * 25.1) / 49, abs=1e-2)
    assert result.pixels == pytest.approx(5.0)


def test_nets_of_a_method_are_averaged():
    nets = [made_up([0.0101, 0.0301], [21, 5]), made_up([0.0301, 0.0101], [21, 5])]
    one, two, both = (row("", some, RANGES[0]) for some in ([nets[0]], [nets[1]], nets))
    for group in ("small", "severe"):
        mean = (one.auc[group].value + two.auc[group].value) / 2
        assert_close(both.auc[group].value, mean)
    assert both.nets == 2


def test_table_states_its_number_of_images_and_joints():
    net = made_up([0.0101, 0.0251], [21, 7])
    text = markdown([row("a net", [net], RANGES[0])], RANGES[0])
    assert counts(net.visible) == "images (visible joints): all 2 (28), small 1 (21), severe 1 (7)"
    assert "| a net | 1 |" in text
    assert f"{100 * area(0.0101, 0, 0.05):.1f} [" in text


def test_images_are_ranked_by_their_visible_joints():
    net = made_up([0.03, 0.01, 0.02, 0.5, 0.04], [21, 21, 21, 0, 3])
    assert evaluate.ranked(net, "small") == [1, 2, 0]
    assert evaluate.ranked(net, "severe") == [4]  # an image without visible joints is in no list


def test_curves_are_written():
    lines = evaluate.curves_csv({"a net": [made_up([0.01001], [21])]}).splitlines()
    assert lines[0] == "method,group,millimetres,pck"
    assert '"a net",all,10,0.000000' in lines
    assert '"a net",all,11,1.000000' in lines


def test_curves_of_a_group_without_images_stay_empty(tmp_path):
    nets = {"a net": [made_up([0.01, 0.02], [21, 21])]}
    save_curves({"": nets}, evaluate.curve, nets["a net"][0].visible, tmp_path / "pck.png")
    pixels = np.asarray(Image.open(tmp_path / "pck.png").convert("RGB")).astype(int)
    colourful = (pixels.max(axis=-1) - pixels.min(axis=-1)) > 60
    small, severe = np.array_split(colourful, 2, axis=1)
    assert small.sum() > 500
    assert severe.sum() == 0


def test_median_and_worst_images_of_both_groups_are_drawn(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        evaluate, "save_hands", lambda rows, path, title: drawn.update({path.name: rows})
    )
    net = made_up([0.03, 0.01, 0.02, 0.07, 0.05, 0.06, 0.04, 0.01], [21] * 7 + [5])
    hands = [HAND.to_data(image=torch.full((1, 3, 4, 4), i)) for i in range(8)]
    evaluate.show(hands, net, "A net", tmp_path)
    shown = {name: [int(row.image[0, 0, 0]) for row in rows] for name, rows in drawn.items()}
    assert shown == {
        "a_net_small_median.png": [2, 0, 6, 4],
        "a_net_small_worst.png": [6, 4, 5, 3],
        "a_net_severe_median.png": [7],
        "a_net_severe_worst.png": [7],
    }
    worst = drawn["a_net_small_worst.png"][1]
    assert worst.title == "image 4"
    assert torch.equal(worst.poses["A net"], net.xyz[4])
    assert torch.equal(worst.true_xyz, net.true_xyz[4])


class Oracle(nn.Module):
    """A lifter that returns the true poses in the order of the dataset."""

    def __init__(self, hands):
        super().__init__()
        uv = normalize_uv(hands["uv_true"], 64)
        self.poses = torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1)

    def forward(self, found):
        taken, self.poses = self.poses.split([len(found.uv), len(self.poses) - len(found.uv)])
        return taken, None


class Blank(nn.Module):
    """A generator whose heatmaps peak at the first pixel."""

    def forward(self, image):
        heatmaps = torch.zeros(len(image), JOINTS, 16, 16)
        heatmaps[..., 0, 0] = 1
        return heatmaps, torch.zeros(len(image), 1, 16, 16)


def test_true_poses_have_no_error_in_camera_space():
    hands = SyntheticHands(6, seed=4, image_size=64)
    tensors = hands.tensors
    batches = [{k: v[i : i + 3] for k, v in tensors.items()} for i in (0, 3)]
    for batch in batches:
        batch["image"] = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    found = predict_all(PoseNet(Blank(), Oracle(tensors)), batches, 64)
    assert found.errors().max() < 1e-5
    assert_close(found.uv, tensors["uv_true"], atol=1e-3, rtol=0)
    assert_close(found.detected, torch.full((6, JOINTS, 2), 1.5))
    assert torch.equal(found.visible, tensors["visible"])


def test_joints_are_mapped_from_crop_to_image():
    image = torch.zeros(3, 100, 140, dtype=torch.uint8)
    rng = torch.Generator().manual_seed(1)
    uv, d = 20 + 60 * torch.rand(JOINTS, 2, generator=rng), torch.rand(JOINTS, generator=rng)
    to_crop = crop_matrix(predict.box_corners([30.0, 20.0, 90.0, 80.0], image), 64)
    args = Namespace(scale=0.03, root_depth=0.5, focal=120.0)
    pose = Pose(transform_points(to_crop, uv), d, torch.ones(JOINTS))
    joints = predict.describe(pose, to_crop, image, args)
    found = torch.tensor([joints["uv"][name] for name in HAND.joints])
    assert_close(found, uv, atol=1e-3, rtol=0)
    K = torch.tensor([[120.0, 0, 69.5], [0, 120, 49.5], [0, 0, 1]])
    known = torch.tensor(0.03), torch.tensor(0.5)
    wanted = uvd_to_camera(torch.cat([uv, d[:, None]], dim=-1), K, *known)
    xyz = torch.tensor([joints["xyz"][name] for name in HAND.joints])
    assert_close(xyz, wanted, atol=2e-4, rtol=0)


class Brightest(nn.Module):
    """A generator whose heatmaps are the image, and a lifter that returns the detected joints."""

    def forward(self, x):
        if isinstance(x, tuple):
            return torch.cat([x.uv, x.uv[..., :1] + x.uv[..., 1:]], dim=-1), None
        maps = nn.functional.avg_pool2d(x[:, :1].float(), 4)
        return maps.expand(-1, JOINTS, -1, -1), torch.zeros(len(x), 1, 16, 16)


def test_a_left_hand_is_a_right_hand_in_the_mirror():
    image = torch.zeros(3, 100, 140, dtype=torch.uint8)
    image[:, 30:34, 50:54] = 255
    boxes = {False: [89.0, 20.0, 119.0, 80.0], True: [20.0, 20.0, 50.0, 80.0]}
    right, left = (
        predict.estimate(
            PoseNet(Brightest(), Brightest()),
            image if is_left else image.flip(-1),
            crop_matrix(predict.box_corners(box, image), 64),
            64,
            left=is_left,
        )
        for is_left, box in boxes.items()
    )
    assert torch.equal(left.crop, right.crop.flip(-1))
    assert torch.equal(left.heatmaps, right.heatmaps.flip(-1))
    row, column = divmod(int(left.heatmaps[0].argmax()), 16)
    peak = torch.tensor([4 * column + 1.5, 4 * row + 1.5])
    assert (left.detected[0] - peak).abs().max() <= 1  # a quarter of a heatmap pixel
    mirrored = torch.stack([63 - right.pose.uv[:, 0], right.pose.uv[:, 1]], dim=-1)
    assert_close(left.pose.uv, mirrored)
    assert_close(left.pose.d, right.pose.d)


@pytest.mark.parametrize(
    "box", [[9, 9, 9, 40], [40, 9, 9, 40], [140, 0, 180, 40], [0, -9, 9, 0], [0, 0, 9, torch.nan]]
)
def test_a_box_outside_the_image_raises(box):
    with pytest.raises(ValueError, match="U0 < U1 and V0 < V1, in part in an image of 140 x 100"):
        predict.box_corners(box, torch.zeros(3, 100, 140))


def test_without_a_box_the_crop_is_the_largest_square():
    image = torch.zeros(3, 100, 140, dtype=torch.uint8)
    to_crop = crop_matrix(predict.box_corners(None, image), 50)
    ends = transform_points(to_crop, torch.tensor([[19.5, -0.5], [119.5, 99.5]]))
    assert_close(ends, torch.tensor([[-0.5, -0.5], [49.5, 49.5]]))


def test_runs_are_compared_on_the_same_hands():
    hands = {"data": "synthetic", "root": "", "image_size": 64}
    evaluate.check_same_hands([Namespace(**hands), Namespace(**hands)])
    with pytest.raises(ValueError, match="must agree in data, root, image_size"):
        evaluate.check_same_hands([Namespace(**hands), Namespace(**hands | {"image_size": 96})])


def test_all_runs_are_found_before_the_first_is_scored(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate, "load_run", lambda run: asked.append(run) or missing[run])
    missing = {Path("first"): (Namespace(data="", root="", image_size=1), None)}
    arguments = ["evaluate.py", "first", "second", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(KeyError, match="second"):
        evaluate.main()
    assert asked == [Path("first"), Path("second")]


def test_runs_of_other_hands_are_refused_before_the_first_is_scored(tmp_path, monkeypatch):
    hands = {"small": 64, "large": 96}
    found = {Path(n): Namespace(data="synthetic", root="", image_size=s) for n, s in hands.items()}
    monkeypatch.setattr(evaluate, "load_run", lambda run: (found[run], None))
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *hands, "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="must agree in data, root, image_size"):
        evaluate.main()


def test_detection_is_that_of_the_heatmaps():
    assert detection(*Blank()(torch.zeros(1, 3, 64, 64))).uv[0, 0].tolist() == pytest.approx(
        [2 * (1.5 + 0.5) / 64 - 1] * 2
    )


@pytest.mark.slow
def test_train_evaluate_predict(tmp_path):
    """The three commands of the readme, with small settings."""

    def run(script, *arguments):
        command = [sys.executable, "-W", "ignore", EXAMPLES / script, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    run("train.py", "--out", "run", "--image-size", 64, "--backbone", "hrnet_w18_small",
        "--encoder-channels", 8, "--samples", 16, "--iterations", 1, 1, 1, 1, "--batch-size", 8,
        "--validate", 8)  # fmt: skip
    run("evaluate.py", "run", "--samples", 40, "--out", "table")
    content = json.loads((tmp_path / "table/table2.json").read_text())
    (first, *_) = content["tables"]["0 to 50 mm in 20 steps, visible joints pooled"]
    assert 0 <= first["auc"]["all"][1] <= first["auc"]["all"][0] <= first["auc"]["all"][2] <= 1
    pictures = {f"psjnet_{g}_{w}.png" for g in ("small", "severe") for w in ("worst", "median")}
    written = {path.name for path in (tmp_path / "table").iterdir()}
    assert written == pictures | {"pck.png", "pck.csv", "table2.md", "table2.json"}
    table = (tmp_path / "table/table2.md").read_text()
    assert len(re.findall(r"^images \(visible joints\): all 40 \(\d+\), small", table, re.M)) == 1
    assert table.count("## AUC x 100, ") == len(RANGES) == 4
    Image.new("RGB", (90, 70), "brown").save(tmp_path / "hand.png")
    run("predict.py", "--run", "run", "--out", "found", "hand.png")
    found = {path.name for path in (tmp_path / "found/hand").iterdir()}
    assert found == {"joints.json", "heatmaps.png", "overlay.png"}
    joints = json.loads((tmp_path / "found/hand/joints.json").read_text())
    assert list(joints["uv"]) == list(HAND.joints)
    assert "the scale is unknown" in joints["note"]
    assert "xyz" not in joints
