"""Pose checkpoints in the official and mmpose's format, built from timm's names."""

from __future__ import annotations

import copy
import os

import pytest
import torch

from handgraph import HAND, RHD
from handgraph.vision import HeatmapGenerator, load_pose_checkpoint

timm = pytest.importorskip("timm")

SMALL = "hrnet_w18_small"


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(1)
    return HeatmapGenerator(backbone=SMALL).eval()


@pytest.fixture
def generator(fresh):
    return copy.deepcopy(fresh)


@pytest.fixture(scope="module")
def backbone():
    """Return an HRNet's weights under their official names, all of them different."""
    torch.manual_seed(2)
    net = timm.create_model(SMALL, features_only=True, feature_location="", out_indices=(1,))
    state = net.state_dict()
    return {name: torch.rand_like(v) if v.dim() else v + 7 for name, v in state.items()}


def official(backbone, joints):
    """Stage 4 has one output, and the head is ``final_layer``."""
    kept = {n: v for n, v in backbone.items() if ".fuse_layers." not in n or not in_stage4(n)}
    kept |= {n: v for n, v in backbone.items() if in_stage4(n) and ".fuse_layers.0." in n}
    head = {
        "final_layer.weight": torch.rand(joints, 16, 1, 1),
        "final_layer.bias": torch.rand(joints),
    }
    return kept | head


def in_stage4(name):
    return name.startswith("stage4.")


def mmpose(backbone, joints, head="head", extra=""):
    state = {}
    for name, value in official(backbone, joints).items():
        prefix = f"{head}." if name.startswith("final_layer") else "backbone."
        state[f"{extra}{prefix}{name}"] = value
    return {"meta": {"epoch": 210, "mmpose_version": "0.7.0"}, "state_dict": state}


def assert_loaded(generator, backbone):
    state = generator.backbone.state_dict()
    assert all(torch.equal(value, backbone[name]) for name, value in state.items())


@pytest.mark.parametrize(
    "style",
    [
        lambda b, j: official(b, j),
        lambda b, j: {f"module.{n}": v for n, v in official(b, j).items()},
        lambda b, j: mmpose(b, j),
        lambda b, j: mmpose(b, j, "keypoint_head"),
        lambda b, j: mmpose(b, j, "keypoint_head", "module."),
    ],
    ids=["official", "official-parallel", "mmpose-1", "mmpose-0", "mmpose-parallel"],
)
def test_a_head_of_as_many_joints_is_taken(generator, backbone, style):
    checkpoint = style(backbone, 21)
    report = load_pose_checkpoint(generator, checkpoint)
    state = checkpoint.get("state_dict", checkpoint)
    assert_loaded(generator, backbone)
    weight = next(v for n, v in state.items() if n.endswith("final_layer.weight"))
    bias = next(v for n, v in state.items() if n.endswith("final_layer.bias"))
    assert torch.equal(generator.head.weight, weight)
    assert torch.equal(generator.head.bias, bias)
    assert sorted(report.taken) == sorted(generator.state_dict())
    assert report.left == ()
    assert report.head == "head taken"
    assert generator.loaded == report
    assert generator.grid == {"stride": 4, "offset": 0.0, "align_corners": False}


@pytest.mark.parametrize(
    "name", ["hrnet_w18_small", "hrnet_w18_small_v2", "hrnet_w18", "hrnet_w32", "hrnet_w48"]
)
def test_the_backbone_is_read_off_the_weights(name):
    weights = HeatmapGenerator(17, backbone=name).state_dict()
    assert repr(HeatmapGenerator.from_checkpoint(weights)) == (
        f"HeatmapGenerator(17, backbone={name!r})"
    )


@pytest.mark.parametrize("joints", [17, 133])
def test_head_with_other_joints_is_not_loaded_and_reported(generator, fresh, backbone, joints):
    report = load_pose_checkpoint(generator, official(backbone, joints))
    assert_loaded(generator, backbone)
    assert torch.equal(generator.head.weight, fresh.head.weight)
    assert torch.equal(generator.head.bias, fresh.head.bias)
    assert sorted(report.left) == ["final_layer.bias", "final_layer.weight"]
    assert report.head == f"head unchanged: the checkpoint has {joints} joints, the generator 21"
    assert str(report) == f"took {len(report.taken)} tensors, left 2; {report.head}"
    assert generator.grid == fresh.grid


def test_joints_pick_rows_of_a_head(generator, backbone):
    checkpoint = official(backbone, 133)
    report = load_pose_checkpoint(generator, checkpoint, joints=range(112, 133))
    assert torch.equal(generator.head.weight, checkpoint["final_layer.weight"][112:])
    assert torch.equal(generator.head.bias, checkpoint["final_layer.bias"][112:])
    assert report.head == "head taken: 21 of 133 joints"
    assert generator.grid["offset"] == 0


def test_joints_reorder_a_head(generator, backbone):
    checkpoint = official(backbone, 21)
    load_pose_checkpoint(generator, checkpoint, joints=HAND.index_from(RHD).tolist())
    theirs, ours = RHD.index("index_tip"), HAND.index("index_tip")
    assert theirs != ours
    assert generator.head.bias[ours] == checkpoint["final_layer.bias"][theirs]


@pytest.mark.parametrize("joints", [range(17), range(-21, 0), range(113, 134), []])
def test_wrong_joints(generator, fresh, backbone, joints):
    with pytest.raises(ValueError, match="expected 21 rows of a head of 133 joints"):
        load_pose_checkpoint(generator, official(backbone, 133), joints=joints)
    assert torch.equal(generator.backbone.conv1.weight, fresh.backbone.conv1.weight)


def test_joints_need_a_head(generator, backbone):
    with pytest.raises(ValueError, match="rows of a head of 0 joints"):
        load_pose_checkpoint(generator, backbone, joints=range(21))


def test_imagenet_weights_without_pose_head(generator):
    """In a classifier's checkpoint, tensors that the generator does not have are skipped."""
    net = timm.create_model(SMALL)
    report = load_pose_checkpoint(generator, net.state_dict())
    assert_loaded(generator, net.state_dict())
    assert report.head == "head unchanged: the checkpoint has no head"
    left = {name.split(".")[0] for name in report.left}
    assert left == {"stage4", "incre_modules", "downsamp_modules", "final_layer", "classifier"}
    assert len(report.taken) + len(report.left) == len(net.state_dict())


def test_counts_of_batches_may_be_missing(generator, backbone):
    checkpoint = {n: v for n, v in backbone.items() if not n.endswith("num_batches_tracked")}
    report = load_pose_checkpoint(generator, checkpoint)
    assert not any(name.endswith("num_batches_tracked") for name in report.taken)
    assert generator.backbone.bn1.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b.pop("layer1.0.conv1.weight"), "1 of 290 .* and 0 .*layer1.0.conv1.weight"),
        (
            lambda b: b.update({"bn1.bias": torch.rand(5)}),
            r"1 have another shape: .*bn1.bias \[5\]",
        ),
        (lambda b: b.clear(), "weights of 'hrnet_w18_small', got .* 290 of 290 tensors are"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(generator, fresh, backbone, change, match):
    checkpoint = dict(backbone)
    change(checkpoint)
    with pytest.raises(ValueError, match=match):
        load_pose_checkpoint(generator, checkpoint)
    for name, value in fresh.state_dict().items():
        assert torch.equal(generator.state_dict()[name], value)


def test_another_width_is_refused(generator):
    other = timm.create_model("hrnet_w18_small_v2").state_dict()
    with pytest.raises(ValueError, match="missing and .* have another shape"):
        load_pose_checkpoint(generator, other)


def test_a_file_is_read(generator, backbone, tmp_path):
    torch.save(mmpose(backbone, 21), tmp_path / "hrnet.pth")
    for path in (tmp_path / "hrnet.pth", str(tmp_path / "hrnet.pth")):
        assert load_pose_checkpoint(generator, path).head == "head taken"
    assert_loaded(generator, backbone)


class Evil:
    """Object that runs code when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, (os.environ["HANDGRAPH_EVIL"],))


def test_a_file_with_code_is_refused_without_running_it(generator, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDGRAPH_EVIL", str(tmp_path / "ran"))
    torch.save({"state_dict": backbone, "hook": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="evil.pth: expected a torch.save file .* none of it"):
        load_pose_checkpoint(generator, tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut off", b"not a checkpoint at all", b"hello", b"("]
)
def test_a_broken_file_is_refused(generator, tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(ValueError, match="broken.pth: expected a torch.save file"):
        load_pose_checkpoint(generator, tmp_path / "broken.pth")


def test_a_missing_file_is_not_found(generator, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_pose_checkpoint(generator, tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"state_dict": {"conv1.weight": 3}}, "got conv1.weight: int"),
        ({"state_dict": [1, 2]}, "got list"),
        ({"epoch": 3, "optimizer": {}}, "got epoch: int, optimizer: dict"),
    ],
)
def test_files_that_are_not_checkpoints_raise(generator, content, match):
    with pytest.raises(ValueError, match=match):
        load_pose_checkpoint(generator, content)


def test_a_list_in_a_file_is_refused(generator, tmp_path):
    torch.save([torch.rand(3)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="got list"):
        load_pose_checkpoint(generator, tmp_path / "list.pth")


def test_hrnet_w32_has_the_names_of_published_weights():
    """An official checkpoint has 1752 tensors and two in the head."""
    net = timm.create_model("hrnet_w32", features_only=True, feature_location="", out_indices=(1,))
    state = {n: v for n, v in net.state_dict().items() if not n.startswith("stage4.2.fuse_layers")}
    state |= {n: v for n, v in net.state_dict().items() if n.startswith("stage4.2.fuse_layers.0")}
    state |= {"final_layer.weight": torch.rand(17, 32, 1, 1), "final_layer.bias": torch.rand(17)}
    assert len(state) == 1754
    report = load_pose_checkpoint(HeatmapGenerator(), state)
    assert (len(report.taken), len(report.left)) == (1752, 2)
