"""Light timm models with a top-down pyramid: values, supported models and errors."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.losses import heatmap_loss
from handgraph.nn import fold
from handgraph.vision import (
    BranchFeatureEncoder,
    HeatmapGenerator,
    JointFeatureSampler,
    decode_heatmaps,
    gaussian_heatmaps,
)
from handgraph.vision._norms import fold_norms
from tests.vision.generators import images, ready_generator

timm = pytest.importorskip("timm")

LIGHT = "lcnet_050"


@pytest.fixture(scope="module")
def ready():
    return ready_generator(LIGHT)


def norm(x, state, name):
    shape = (1, -1, 1, 1)
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
    return x * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)


def slow_features(body, state, x):
    """Compute the pyramid from timm's feature maps by its equations."""
    maps = [m for m in body(x) if x.shape[-1] // m.shape[-1] >= 4]
    assert len(maps) == 4
    lateral = [
        torch.einsum("oi,bihw->bohw", state[f"lateral.{n}.weight"][..., 0, 0], m)
        + state[f"lateral.{n}.bias"].view(-1, 1, 1)
        for n, m in enumerate(maps)
    ]
    top = lateral[3]
    for n in (2, 1, 0):
        top = top.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2) + lateral[n]
    each = zip(top.unbind(1), state["smooth.0.weight"], strict=True)
    top = torch.cat([conv2d(c.unsqueeze(1), w.unsqueeze(0), padding=1) for c, w in each], dim=1)
    top = norm(top, state, "smooth.1").clamp(min=0)
    top = torch.einsum("oi,bihw->bohw", state["smooth.3.weight"][..., 0, 0], top)
    return norm(top, state, "smooth.4").clamp(min=0)


def test_it_is_the_pyramid_of_timms_features(ready):
    body = timm.create_model(LIGHT, features_only=True).eval()
    state = ready.backbone.state_dict()
    body.load_state_dict({n[5:]: v for n, v in state.items() if n.startswith("body.")})
    x = images(2, 64, 96)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = slow_features(body, state, (x / 255 - mean) / std)
    heatmaps, features = ready(x)
    assert_close(features, expected, atol=1e-5, rtol=1e-4)
    head = torch.einsum("oi,bihw->bohw", ready.head.weight[..., 0, 0], expected)
    assert_close(heatmaps, head, atol=1e-5, rtol=1e-4)
    assert (heatmaps.shape, features.shape) == ((2, 21, 16, 24), (2, 64, 16, 24))


@pytest.mark.parametrize(
    "name", [LIGHT, "mobilenetv4_conv_small_050", "resnet18", "repvit_m0_9", "fastvit_t8"]
)
def test_every_parameter_has_a_gradient_and_the_width_is_stated(name):
    generator = HeatmapGenerator(5, backbone=name)
    heatmaps, features = generator(images())
    assert heatmaps.shape == (2, 5, 16, 16)
    assert features.shape == (2, generator.feature_channels, 16, 16)
    heatmaps.square().sum().backward()
    assert [n for n, p in generator.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", [LIGHT, "mobilenetv4_conv_small_050"])
def test_images_are_normalised_as_for_timms_weights(name):
    generator, cfg = HeatmapGenerator(backbone=name), timm.get_pretrained_cfg(name)
    assert_close(generator.mean.flatten(), torch.tensor(cfg.mean))
    assert_close(generator.std.flatten(), torch.tensor(cfg.std))


def test_encoders_and_samplers_accept_the_features_of_a_backbone(ready):
    heatmaps, features = ready(images())
    uv, _ = decode_heatmaps(heatmaps)
    removal, width = RemovalSets.by_level(HAND), ready.feature_channels
    encode = BranchFeatureEncoder(width, 2, removal, hidden_channels=8)
    assert encode(features).shape == (2, 4, 16, 2)
    assert JointFeatureSampler(width, 3)(features, uv).shape == (2, 21, 3)


def test_it_learns_one_image():
    torch.manual_seed(0)
    generator, x = HeatmapGenerator(5, backbone=LIGHT), images(2)
    uv = 8 + 48 * torch.rand(2, 5, 2)
    target = gaussian_heatmaps(uv, 64, sigma=1.5)
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        heatmap_loss(generator(x)[0], target).backward()
        optimizer.step()
    found, confidence = decode_heatmaps(generator(x)[0])
    assert (found - uv).abs().max() < 2
    assert confidence.min() > 0.5


def test_it_is_copied_exported_and_folded(ready):
    x, expected = images(), ready(images(1))[0].shape[1:]
    assert torch.equal(pickle.loads(pickle.dumps(ready))(x)[0], ready(x)[0])
    other = HeatmapGenerator(backbone=LIGHT).eval()
    other.load_state_dict(ready.state_dict())
    assert torch.equal(other(x)[0], ready(x)[0])
    assert_close(fold(copy.deepcopy(ready))(x), ready(x), atol=1e-4, rtol=1e-4)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(ready, (x / 255,), dynamic_shapes=shapes)
    out, _ = program.module()(images(3) / 255)
    assert out.shape == (3, *expected)
    assert_close(program.module()(x / 255), ready(x), atol=1e-5, rtol=1e-4)


def test_pretrained_weights_arrive(monkeypatch):
    published = timm.create_model(LIGHT).state_dict()
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict_from_hf", lambda *args, **kwargs: dict(published)
    )
    state = HeatmapGenerator(backbone=LIGHT, pretrained=True).backbone.body.state_dict()
    assert len(state) > 100
    assert all(torch.equal(value, published[name]) for name, value in state.items())


def test_nets_without_these_strides_are_refused():
    with pytest.raises(ValueError, match=r"4, 8, 16, 32.* got 'vit_tiny_.*' with strides 16"):
        HeatmapGenerator(backbone="vit_tiny_patch16_224")


@pytest.mark.parametrize(("name", "head"), [(LIGHT, "concat"), ("hrnet_w18_small", "deconv")])
def test_heads_of_other_backbones_are_refused(name, head):
    with pytest.raises(ValueError, match=f"head: expected 'conv' or .* for '{name}', got '{head}'"):
        HeatmapGenerator(backbone=name, head=head)


# Folding for inference


class Tangled(nn.Module):
    """Convolutions and norms of which only the first two can be fused."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.twice, self.twice_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.skipped, self.skipped_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.shared_norm = nn.BatchNorm2d(4)
        self.active, self.active_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.first(x))
        x = self.twice_norm(self.twice(self.twice(x)))
        y = self.skipped(x)
        x = self.shared_norm(y + self.skipped_norm(y))
        x = self.active_norm(self.active(x).relu())
        return self.shared_norm(x)


def test_only_norms_that_alone_follow_a_convolution_are_fused():
    torch.manual_seed(0)
    net, x = Tangled().double(), torch.randn(4, 3, 8, 8).double()
    net(x)
    expected, folded = net.eval()(x), copy.deepcopy(net)
    fold_norms(folded)
    left = [n for n, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == ["twice_norm", "skipped_norm", "shared_norm", "active_norm"]
    assert_close(folded(x), expected, atol=1e-12, rtol=1e-12)


class Choosy(nn.Module):
    """A part that cannot be traced, and one that can."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.part = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x):
        x = self.conv(x)
        if x.sum() > 0:
            x = self.norm(x)
        return self.part(x)


def test_parts_of_a_network_with_control_flow_are_fused():
    torch.manual_seed(0)
    net, x = Choosy().double(), torch.randn(4, 3, 8, 8).double()
    for sign in (1, -1):
        net(sign * x)
    folded = copy.deepcopy(net.eval())
    fold_norms(folded)
    left = [n for n, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == ["norm"]
    for sign in (1, -1):
        assert_close(folded(sign * x), net(sign * x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        *[(name, "conv") for name in (LIGHT, "mobilenetv4_conv_small_050", "resnet18")],
        *[(name, "conv") for name in ("repvit_m0_9", "fastvit_t8", "hrnet_w18_small")],
        *[("hrnet_w18_small", "concat"), ("resnet18", "deconv")],
    ],
)
def test_folded_generators_compute_the_same(name, head):
    generator = ready_generator(name, head).double()
    x, before = images(), copy.deepcopy(generator.state_dict())
    folded = fold(generator)
    norms = [n for n, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms == (["head.1", "head.4", "head.7"] if head == "deconv" else [])
    exact = 1e-5 if name == "repvit_m0_9" else 1e-9  # timm fuses its branches in float32
    assert_close(folded(x), generator(x), atol=exact, rtol=exact)
    assert all(torch.equal(value, before[n]) for n, value in generator.state_dict().items())
