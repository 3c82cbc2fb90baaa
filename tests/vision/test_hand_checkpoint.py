"""mmpose's hand models: HRNetV2-W18 with a head on all branches, by their published names."""

from __future__ import annotations

import pickle
import sys
import types
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RHD
from handgraph.vision import (
    HeatmapGenerator,
    decode_dark,
    decode_heatmaps,
    load_pose_checkpoint,
)

timm = pytest.importorskip("timm")

WIDTHS = (18, 36, 72, 144)
HEAD = {  # of mmpose 0: one Sequential
    "0.weight": (270, 270, 1, 1),
    "0.bias": (270,),
    "1.weight": (270,),
    "1.bias": (270,),
    "1.running_mean": (270,),
    "1.running_var": (270,),
    "1.num_batches_tracked": (),
    "3.weight": (21, 270, 1, 1),
    "3.bias": (21,),
}


def whole():
    """Return timm's net with all branches."""
    return timm.create_model(
        "hrnet_w18", features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(3)
    net = whole()
    net(torch.rand(4, 3, 64, 64))  # updates the statistics
    return net.state_dict()


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(4)
    made = {name: torch.rand(shape) - 0.5 for name, shape in HEAD.items()}
    return made | {"1.running_var": torch.rand(270) + 0.5, "1.num_batches_tracked": torch.tensor(9)}


def mmpose_0(backbone, head, **meta):
    weights = {f"backbone.{name}": value for name, value in backbone.items()}
    weights |= {f"keypoint_head.final_layer.{name}": value for name, value in head.items()}
    return {"meta": {"mmpose_version": "0.14.0", **meta}, "state_dict": weights}


def mmpose_1(backbone, head, **meta):
    """The last convolution is a separate module."""
    weights = {f"backbone.{name}": value for name, value in backbone.items()}
    for name, value in head.items():
        part = name.replace("3.", "final_layer.") if name[0] == "3" else f"conv_layers.{name}"
        weights[f"head.{part}"] = value
    return {"meta": {"mmpose_version": "1.3.0", **meta}, "state_dict": weights}


FORMATS = pytest.mark.parametrize("form", [mmpose_0, mmpose_1])


def slow_matrix(few, many):
    """Return bilinear upsampling as a matrix: pixel centres, with the edge repeated."""
    matrix = torch.zeros(many, few, dtype=torch.float64)
    for i in range(many):
        place = min(max((i + 0.5) * few / many - 0.5, 0), few - 1)
        low = int(place)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, few - 1)] += place - low
    return matrix


class SlowUpsample(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = int(factor)

    def forward(self, x):
        rows, columns = (slow_matrix(n, n * self.factor) for n in x.shape[-2:])
        return rows @ x @ columns.T


def slow_heatmaps(backbone, head, images):
    """Compute the published net: timm's with bilinear upsampling, and the head."""
    net = whole().eval()
    net.load_state_dict(backbone)
    net = net.double()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Upsample):
                setattr(module, name, SlowUpsample(child.scale_factor))
    mean = torch.tensor([0.485, 0.456, 0.406]).double().view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).double().view(3, 1, 1)
    branches = net((images.double() / 255 - mean) / std)
    x = torch.cat([SlowUpsample(2**n)(branch) for n, branch in enumerate(branches)], dim=1)
    p = {name: value.double() for name, value in head.items()}
    x = torch.einsum("oi,bihw->bohw", p["0.weight"][..., 0, 0], x) + p["0.bias"].view(-1, 1, 1)
    scale = p["1.weight"] / (p["1.running_var"] + 1e-5).sqrt()
    x = (x - p["1.running_mean"].view(-1, 1, 1)) * scale.view(-1, 1, 1)
    x = (x + p["1.bias"].view(-1, 1, 1)).clamp(min=0)
    x = torch.einsum("oi,bihw->bohw", p["3.weight"][..., 0, 0], x)
    return x + p["3.bias"].view(-1, 1, 1)


@FORMATS
def test_it_loads_whole_and_computes_the_published_function(form, backbone, head):
    checkpoint = form(backbone, head)
    generator = HeatmapGenerator.from_checkpoint(checkpoint).eval()
    assert repr(generator) == "HeatmapGenerator(21, backbone='hrnet_w18', head='concat')"
    assert sorted(generator.loaded.taken) == sorted(generator.state_dict())
    assert len(generator.loaded.taken) == len(checkpoint["state_dict"])
    assert (generator.loaded.left, generator.loaded.head) == ((), "head taken")
    images = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
    expected = slow_heatmaps(backbone, head, images)
    assert expected.std() > 0.01
    assert_close(generator.double()(images)[0], expected, atol=1e-9, rtol=1e-9)


@FORMATS
def test_joints_are_picked_from_the_last_layer(form, backbone, head):
    rows = HAND.index_from(RHD).tolist()
    generator = HeatmapGenerator.from_checkpoint(form(backbone, head), joints=rows)
    assert torch.equal(generator.head[3].bias, head["3.bias"][rows])
    assert torch.equal(generator.head[0].bias, head["0.bias"])
    assert generator.loaded.head == "head taken"
    few = HeatmapGenerator.from_checkpoint(form(backbone, head), joints=[4, 8])
    assert (few.num_joints, few.head[3].weight.shape) == (2, (2, 270, 1, 1))
    assert few.loaded.head == "head taken: 2 of 21 joints"


def test_tensors_that_are_not_loaded_are_listed_by_name(backbone, head):
    checkpoint = mmpose_0(backbone, head)
    generator = HeatmapGenerator(backbone="hrnet_w18")
    before = generator.head.weight.clone()
    report = load_pose_checkpoint(generator, checkpoint)
    left = {name.rpartition(".")[0] for name in report.left if "keypoint_head" in name}
    assert left == {f"keypoint_head.final_layer.{n}" for n in (0, 1, 3)}
    assert all("stage4.2.fuse_layers." in name for name in report.left if "head" not in name)
    assert report.head.endswith(": the checkpoint's head is 'concat', the generator's 'conv'")
    assert torch.equal(generator.head.weight, before)
    assert generator.grid["offset"] is None


def test_weights_of_handgraph_keep_their_grid(backbone, head):
    first = HeatmapGenerator.from_checkpoint(mmpose_0(backbone, head))
    second = HeatmapGenerator.from_checkpoint(first.state_dict())
    assert first.grid["offset"] == 0
    assert second.grid["offset"] is None
    assert torch.equal(second.head[3].weight, first.head[3].weight)


UDP = {"config": "test_cfg=dict(post_process='default', use_udp=True)"}


@pytest.mark.parametrize(
    ("meta", "file", "udp"),
    [
        ({}, "hrnetv2_w18_rhd2d_256x256-95b20dd8_20210330.pth", False),
        ({"config": "test_cfg=dict(use_udp=False)"}, "hand.pth", False),
        ({}, "hrnetv2_w18_rhd2d_256x256_udp-63ba6007_20210330.pth", True),
        (UDP, "hand.pth", True),
        ({"cfg": "codec = dict(type='UDPHeatmap', sigma=2)"}, "hand.pth", True),
    ],
)
def test_the_convention_is_that_of_the_file(backbone, head, tmp_path, meta, file, udp):
    torch.save(mmpose_0(backbone, head, **meta), tmp_path / file)
    generator = HeatmapGenerator.from_checkpoint(tmp_path / file)
    assert generator.grid == {"stride": 4, "offset": 0.0, "align_corners": udp}


def test_a_checkpoint_without_a_head_is_refused(backbone):
    with pytest.raises(ValueError, match="with a head, got none"):
        HeatmapGenerator.from_checkpoint(backbone)


def test_a_checkpoint_of_another_net_is_refused():
    state = {"head.final_layer.weight": torch.rand(21, 9, 1, 1)}
    state |= {"head.final_layer.bias": torch.rand(21), "backbone.conv1.weight": torch.rand(3)}
    with pytest.raises(ValueError, match="weights of an HRNet or a ResNet, got those of neither"):
        HeatmapGenerator.from_checkpoint(state)
    with pytest.raises(ValueError, match="expected the weights of 'lcnet_050'"):
        HeatmapGenerator.from_checkpoint(state, backbone="lcnet_050")


def test_a_head_of_another_form_is_refused(backbone, head):
    other = mmpose_0(backbone, {**head, "0.weight": torch.rand(270, 270, 3, 3)})
    with pytest.raises(ValueError, match="its layers have other shapes in the checkpoint"):
        HeatmapGenerator.from_checkpoint(other)


@FORMATS
def test_a_head_that_is_not_whole_is_refused(form, backbone, head):
    """Without its statistics, the head would compute another function."""
    part = {name: value for name, value in head.items() if "running" not in name}
    with pytest.raises(ValueError, match=r"lacks head.1.running_mean, head.1.running_var\)"):
        HeatmapGenerator.from_checkpoint(form(backbone, part))
    counts = {name: value for name, value in head.items() if "num_batches" not in name}
    generator = HeatmapGenerator.from_checkpoint(form(backbone, counts))
    assert generator.loaded.head == "head taken"
    assert "head.1.num_batches_tracked" not in generator.loaded.taken


def test_two_networks_in_one_file_are_refused(backbone, head):
    checkpoint = mmpose_0(backbone, head)["state_dict"]
    checkpoint |= {f"module.{name}": value + 1 for name, value in checkpoint.items()}
    with pytest.raises(ValueError, match=r"one network, got 'backbone.* and 'module.backbone"):
        HeatmapGenerator.from_checkpoint(checkpoint)


def test_averages_of_mmcv_are_left(backbone, head):
    """mmcv's EMAHook saves averages as buffers of the model, under other names."""
    checkpoint = mmpose_0(backbone, head)
    averages = {f"ema_{n.replace('.', '_')}": v + 1 for n, v in checkpoint["state_dict"].items()}
    generator = HeatmapGenerator.from_checkpoint(
        {**checkpoint, "state_dict": {**checkpoint["state_dict"], **averages}}
    )
    assert generator.loaded.left == tuple(averages)
    assert torch.equal(generator.head[3].weight, head["3.weight"])


# Checkpoints of training code


@pytest.fixture
def mmengine(monkeypatch):
    """A module with a class that records its use, like mmengine's in a checkpoint."""
    module = types.ModuleType("mmengine_like")

    class HistoryBuffer:
        used = 0

        def __init__(self):
            self.values = np.array([1.0, 2.0])

        def __setstate__(self, state):
            HistoryBuffer.used += 1

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return HistoryBuffer


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_a_training_are_left_and_not_run(backbone, head, tmp_path, mmengine, zipped):
    checkpoint = mmpose_1(backbone, head, seed=np.int64(3), sigmas=np.ones(21, dtype=np.float32))
    checkpoint["message_hub"] = {"log_scalars": {"loss": mmengine()}}
    checkpoint["optimizer"] = {"state": {0: {"exp_avg": torch.rand(3)}}, "hook": getattr}
    path = tmp_path / "epoch_10.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    generator = HeatmapGenerator.from_checkpoint(path)
    assert mmengine.used == 0
    assert torch.equal(generator.head[3].weight, head["3.weight"])
    assert generator.loaded.left == ()


class Config(dict):
    """Like mmengine's ``ConfigDict`` and Lightning's ``AttributeDict``."""


class Hooks(list):
    """A list with methods."""


@pytest.mark.parametrize("zipped", [True, False])
def test_dicts_and_lists_of_other_classes_are_left(backbone, head, tmp_path, zipped):
    checkpoint = mmpose_1(backbone, head, cfg=Config(lr=Config(value=0.1)), hooks=Hooks([1, "a"]))
    checkpoint["hyper_parameters"] = Config(layers=Hooks([Config(width=3)]), empty=Config())
    checkpoint["scores"] = {"one": {1, 2}}
    torch.save(checkpoint, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    generator = HeatmapGenerator.from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(generator.head[3].weight, head["3.weight"])
    assert generator.loaded.left == ()


def test_a_class_that_pytorch_knows_but_does_not_fill_is_named(tmp_path):
    torch.save({"state_dict": {}, "scores": defaultdict(list, auc=[0.9])}, tmp_path / "a.pth")
    allowed = torch.serialization.safe_globals([defaultdict, list])
    match = r"holds a collections.defaultdict.*If you trust it"
    with allowed, pytest.raises(ValueError, match=match):
        HeatmapGenerator.from_checkpoint(tmp_path / "a.pth")


def test_a_whole_module_is_no_checkpoint(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"names to tensors.* got torch.nn.modules.linear.Linear"):
        HeatmapGenerator.from_checkpoint(tmp_path / "module.pth")


def test_errors_name_the_global_that_a_pickle_refers_to(tmp_path):
    header = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {})
    content = b"".join(pickle.dumps(part, protocol=2) for part in header)
    (tmp_path / "evil.pth").write_bytes(content + b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="refers to posix.system; none of it was run"):
        HeatmapGenerator.from_checkpoint(tmp_path / "evil.pth")


def test_decoded_in_its_convention_a_joint_is_where_it_was_drawn(backbone, head, tmp_path):
    """The published code draws the Gaussian at u / 4, with UDP at u 63 / 255."""
    uv = torch.tensor([[101.3, 58.6]])
    pixels = torch.arange(64.0)
    for name, scale in (("hand.pth", 4), ("hand_udp.pth", 255 / 63)):
        torch.save(mmpose_0(backbone, head), tmp_path / name)
        grid = HeatmapGenerator.from_checkpoint(tmp_path / name).grid
        x, y = (torch.exp(-((pixels - place / scale) ** 2) / 8) for place in uv[0])
        maps = (y.unsqueeze(1) * x).unsqueeze(0)
        assert_close(decode_dark(maps, **grid)[0], uv, atol=0.01, rtol=0)
        assert_close(decode_heatmaps(maps, **grid)[0], uv, atol=1.02, rtol=0)  # quarter pixels
