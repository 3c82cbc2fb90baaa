"""ResNets with transposed convolutions, such as mmpose's for FreiHAND, by their published names."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, relu
from torch.testing import assert_close

from handgraph.vision import HeatmapGenerator, load_pose_checkpoint

pytest.importorskip("timm")
models = pytest.importorskip("torchvision.models")

DECONVS = {  # names and shapes of the three transposed convolutions
    f"deconv_layers.{3 * n + step}.{part}": shape
    for n, width in enumerate((2048, 256, 256))
    for step, part, shape in [
        (0, "weight", (width, 256, 4, 4)),
        *[(1, p, (256,)) for p in ("weight", "bias", "running_mean", "running_var")],
        (1, "num_batches_tracked", ()),
    ]
}
THIRD = ("deconv_layers.6", "deconv_layers.7")
HEAD = {**DECONVS, "final_layer.weight": (21, 256, 1, 1), "final_layer.bias": (21,)}


def whole(depth=50):
    net = models.get_model(f"resnet{depth}", weights=None)
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(3)
    net = whole()
    for _ in range(10):  # updates the statistics
        net(torch.rand(4, 3, 64, 64))
    return {name: w for name, w in net.state_dict().items() if not name.startswith("fc.")}


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(4)
    made = {name: 0.1 * torch.randn(shape) for name, shape in HEAD.items()}
    made |= {n: torch.rand(256) + 0.5 for n in HEAD if n.endswith("running_var")}
    return made | {n: torch.tensor(9) for n in HEAD if n.endswith("num_batches_tracked")}


def mmpose(backbone, head, prefix):
    weights = {f"backbone.{name}": value for name, value in backbone.items()}
    weights |= {f"{prefix}.{name}": value for name, value in head.items()}
    return {"meta": {"epoch": 100}, "state_dict": weights}


FORMATS = pytest.mark.parametrize(
    "form",
    [
        lambda b, h: mmpose(b, h, "keypoint_head"),
        lambda b, h: mmpose(b, h, "head"),
        lambda b, h: {**b, **h},
        lambda b, h: {f"module.{name}": value for name, value in {**b, **h}.items()},
    ],
    ids=["mmpose-0", "mmpose-1", "official", "official-parallel"],
)


def slow_maps(backbone, head, images):
    """Compute features and heatmaps with torchvision's ResNet and the layers of the head."""
    net = whole().eval()
    net.load_state_dict(backbone, strict=False)
    net = net.double()
    mean = torch.tensor([0.485, 0.456, 0.406]).double().view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).double().view(3, 1, 1)
    x = net.conv1((images.double() / 255 - mean) / std)
    features = net.layer1(net.maxpool(net.relu(net.bn1(x))))
    x = net.layer4(net.layer3(net.layer2(features)))
    p = {name: value.double() for name, value in head.items()}
    for n in (0, 3, 6):
        x = conv_transpose2d(x, p[f"deconv_layers.{n}.weight"], stride=2, padding=1)
        mean, var, weight, bias = (
            p[f"deconv_layers.{n + 1}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = relu(batch_norm(x, mean, var, weight, bias))
    return conv2d(x, p["final_layer.weight"], p["final_layer.bias"]), features


@FORMATS
def test_it_loads_whole_and_computes_the_published_function(form, backbone, head):
    checkpoint = form(backbone, head)
    generator = HeatmapGenerator.from_checkpoint(checkpoint).eval()
    assert repr(generator) == "HeatmapGenerator(21, backbone='resnet50', head='deconv')"
    assert sorted(generator.loaded.taken) == sorted(generator.state_dict())
    assert len(generator.loaded.taken) == len(backbone) + len(head)
    assert (generator.loaded.left, generator.loaded.head) == ((), "head taken")
    assert generator.grid == {"stride": 4, "offset": 0.0, "align_corners": False}
    images = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
    expected = slow_maps(backbone, head, images)
    assert expected[0].std() > 0.01
    assert generator.feature_channels == expected[1].shape[1] == 256
    assert_close(generator.double()(images), expected, atol=1e-9, rtol=1e-9)


def test_joints_are_picked_from_the_last_layer(backbone, head):
    generator = HeatmapGenerator.from_checkpoint(mmpose(backbone, head, "head"), joints=[4, 8])
    assert torch.equal(generator.head[9].bias, head["final_layer.bias"][[4, 8]])
    assert torch.equal(generator.head[0].weight, head["deconv_layers.0.weight"])


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_the_depth_is_inferred_from_the_weights(depth):
    with torch.device("meta"):
        weights = HeatmapGenerator(3, backbone=f"resnet{depth}", head="deconv").state_dict()
    weights = {name: torch.empty_like(value, device="cpu") for name, value in weights.items()}
    assert repr(HeatmapGenerator.from_checkpoint(weights)) == (
        f"HeatmapGenerator(3, backbone='resnet{depth}', head='deconv')"
    )


def test_tensors_of_a_classifier_are_left(backbone, head):
    checkpoint = {**backbone, **head, "fc.weight": torch.rand(1000, 2048), "fc.bias": torch.rand(3)}
    generator = HeatmapGenerator.from_checkpoint(checkpoint)
    assert generator.loaded.left == ("fc.weight", "fc.bias")


def test_fewer_transposed_convolutions_are_refused(backbone, head):
    two = {name: value for name, value in head.items() if not name.startswith(THIRD)}
    with pytest.raises(ValueError, match=r"the checkpoint lacks head.6.weight, head.7.bias"):
        HeatmapGenerator.from_checkpoint({**backbone, **two})


def test_a_generator_with_a_pyramid_does_not_take_it(backbone, head):
    generator = HeatmapGenerator(backbone="resnet50")
    with pytest.raises(ValueError, match="weights of 'resnet50', got .*backbone.lateral.0.weight"):
        load_pose_checkpoint(generator, mmpose(backbone, head, "head"))
