"""The heatmap generator: values, the layers it keeps of timm's HRNet, and errors."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest
import torch
from torch.testing import assert_close

from handgraph.losses import heatmap_loss
from handgraph.nn import fold
from handgraph.testing import assert_compiles
from handgraph.vision import HeatmapGenerator, decode_heatmaps, gaussian_heatmaps
from tests.vision.generators import images, ready_generator

timm = pytest.importorskip("timm")

SMALL = "hrnet_w18_small"


@pytest.fixture(scope="module")
def ready():
    return ready_generator(SMALL)


def whole(name):
    """Return timm's net without its classification head."""
    return timm.create_model(name, features_only=True, feature_location="", out_indices=(1,))


def test_parameters_of_hrnet_w32():
    """Counted by hand: 28.54 M is 29,305,536 less 769,984 in unused fusions; 33 per joint."""
    generator = HeatmapGenerator()
    assert sum(p.numel() for p in generator.backbone.parameters()) == 28_535_552
    assert sum(p.numel() for p in generator.head.parameters()) == 21 * 33
    assert len(generator.backbone.state_dict()) == 1752
    assert generator.feature_channels == 256
    heatmaps, features = generator(images(1, 64, 96))
    assert heatmaps.shape == (1, 21, 16, 24)
    assert features.shape == (1, 256, 16, 24)


@pytest.mark.slow
@pytest.mark.parametrize("name", timm.list_models(module="hrnet"))
def test_any_hrnet_of_timm(name):
    generator = HeatmapGenerator(5, backbone=name)
    heatmaps, features = generator(images(2))
    assert heatmaps.shape == (2, 5, 16, 16)
    assert features.shape == (2, generator.feature_channels, 16, 16)
    heatmaps.square().sum().backward()
    assert [n for n, p in generator.named_parameters() if p.grad is None] == []
    cfg = timm.get_pretrained_cfg(name)
    assert_close(generator.mean.flatten(), torch.tensor(cfg.mean))
    assert_close(generator.std.flatten(), torch.tensor(cfg.std))


def test_equals_timm_with_the_same_weights(ready):
    """Compare the highest-resolution branch, and ``layer1`` through a hook."""
    reference = whole(SMALL).eval()
    reference.load_state_dict(ready.backbone.state_dict(), strict=False)
    seen = {}
    reference.layer1.register_forward_hook(lambda module, x, y: seen.update(features=y.clone()))
    x = images()
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    (highest,) = reference((x / 255 - mean) / std)
    heatmaps, features = ready(x)
    assert_close(features, seen["features"])
    assert_close(heatmaps, ready.head(highest))


def test_only_unused_layers_are_removed(ready):
    names = set(whole(SMALL).state_dict()) - set(ready.backbone.state_dict())
    assert names
    assert all(name.startswith("stage4.2.fuse_layers.") for name in names) or all(
        name.split(".")[2] == "fuse_layers" and name.split(".")[3] != "0" for name in names
    )


def test_every_parameter_has_a_gradient():
    generator = HeatmapGenerator(backbone=SMALL)
    heatmaps, _ = generator(images())
    heatmaps.square().sum().backward()
    assert [n for n, p in generator.named_parameters() if p.grad is None] == []


def test_first_heatmaps_are_near_zero():
    heatmaps, _ = HeatmapGenerator(backbone=SMALL)(images())
    assert 0 < heatmaps.std() < 0.05


def test_it_learns_one_image():
    """In 60 steps, to one pixel: targets, loss, decoding and net use the same coordinates."""
    generator, x = HeatmapGenerator(5, backbone=SMALL), images(2)
    uv = 8 + 48 * torch.rand(2, 5, 2)
    target = gaussian_heatmaps(uv, 64, sigma=1.5)
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        heatmap_loss(generator(x)[0], target).backward()
        optimizer.step()
    found, confidence = decode_heatmaps(generator(x)[0])
    assert (found - uv).abs().max() < 2
    assert confidence.min() > 0.5


def test_uint8_and_float_images_agree(ready):
    x = images()
    assert_close(ready(x / 255), ready(x))


def test_double_precision_agrees_with_single(ready):
    double, x = copy.deepcopy(ready).double(), images()
    heatmaps, features = double(x)
    assert heatmaps.dtype == features.dtype == torch.float64
    assert_close(heatmaps.float(), ready(x)[0], atol=1e-4, rtol=1e-4)


def test_samples_do_not_see_each_other(ready):
    x = images(3, 32, 64)
    heatmaps, features = ready(x)
    for n in range(3):
        alone = ready(x[n : n + 1])
        assert_close(alone, (heatmaps[n : n + 1], features[n : n + 1]), atol=1e-5, rtol=1e-4)


def test_an_empty_batch(ready):
    assert ready(images(0))[0].shape == (0, 21, 16, 16)
    assert ready(torch.zeros(0, 3, 64, 64))[0].shape == (0, 21, 16, 16)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (torch.zeros(3, 64, 64), ValueError, r"RGB images \[B, 3, H, W\], got \[3, 64, 64\]"),
        (torch.zeros(2, 1, 64, 64), ValueError, r"RGB images .* got \[2, 1, 64, 64\]"),
        (torch.zeros(2, 3, 64, 50), ValueError, "multiples of 32, got 64 x 50"),
        (torch.zeros(2, 3, 50, 64), ValueError, "multiples of 32, got 50 x 64"),
        (torch.zeros(2, 3, 0, 64), ValueError, "multiples of 32, got 0 x 64"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.int32), TypeError, "torch.uint8, or floating"),
        (torch.full((2, 3, 64, 64), 255.0), ValueError, "from 255 to 255; pass images in 0 to 255"),
        (torch.full((2, 3, 64, 64), -0.1), ValueError, r"in \[0, 1\] without NaN, got .* -0.1"),
        (torch.full((2, 3, 64, 64), torch.nan), ValueError, "without NaN, got values from nan"),
        (torch.full((2, 3, 64, 64), torch.inf), ValueError, "to inf"),
    ],
)
def test_wrong_images(ready, x, error, match):
    with pytest.raises(error, match=match):
        ready(x)


def test_one_nan_pixel_is_found(ready):
    x = torch.rand(2, 3, 64, 64)
    x[1, 2, 40, 3] = torch.nan
    with pytest.raises(ValueError, match="without NaN"):
        ready(x)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="num_joints to be at least 1, got 0"):
        HeatmapGenerator(0, backbone=SMALL)
    for name in ("resnet", "hrnet_w33", "hrnet"):
        with pytest.raises(ValueError, match=f"HRNet of timm .*hrnet_w32.*lcnet.* got '{name}'"):
            HeatmapGenerator(backbone=name)
    with pytest.raises(ValueError, match="head: expected one of conv, concat, deconv, got 'big'"):
        HeatmapGenerator(backbone=SMALL, head="big")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"handgraph\[vision\]"):
        HeatmapGenerator(backbone=SMALL)


def test_pretrained_weights_arrive(monkeypatch):
    """timm's classifier replaces a download from the hub."""
    published = timm.create_model(SMALL).state_dict()
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict_from_hf", lambda *args, **kwargs: dict(published)
    )
    backbone = HeatmapGenerator(backbone=f"{SMALL}.gluon_in1k", pretrained=True).backbone
    state = backbone.state_dict()
    assert len(state) > 300
    for name, value in state.items():
        assert torch.equal(value, published[name])


def test_offline_without_pretrained_weights(monkeypatch):
    def offline(*args, **kwargs):
        from huggingface_hub.errors import LocalEntryNotFoundError

        raise LocalEntryNotFoundError("cannot find the requested files in the local cache")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(RuntimeError, match=f"ImageNet weights of '{SMALL}': are you offline"):
        HeatmapGenerator(backbone=SMALL, pretrained=True)


def test_state_dict_has_only_learned_tensors(ready):
    names = list(ready.state_dict())
    assert {name.split(".")[0] for name in names} == {"backbone", "head"}
    other = HeatmapGenerator(backbone=SMALL).eval()
    other.load_state_dict(ready.state_dict())
    x = images()
    for copied in (other, copy.deepcopy(ready), pickle.loads(pickle.dumps(ready))):
        assert torch.equal(copied(x)[0], ready(x)[0])


def test_reset_head(ready):
    generator = copy.deepcopy(ready)
    generator.reset_head()
    assert 0 < generator.head.weight.std() < 0.002
    assert generator.head.bias.eq(0).all()


def test_channels_last(ready):
    x = images()
    expected = ready(x)
    generator = copy.deepcopy(ready).to(memory_format=torch.channels_last)
    out = generator(x.to(memory_format=torch.channels_last))
    assert_close(out, expected, atol=1e-5, rtol=1e-4)
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in out)


def test_bfloat16_autocast_trains(ready):
    generator, x = copy.deepcopy(ready).train(), images()
    with torch.autocast("cpu", torch.bfloat16):
        heatmaps, _ = generator(x)
    assert heatmaps.dtype == torch.bfloat16
    heatmap_loss(heatmaps.float(), torch.zeros(2, 21, 16, 16)).backward()
    assert all(p.grad.isfinite().all() for p in generator.parameters())


def test_exports_with_a_dynamic_batch(ready):
    """The range of floating-point images is not checked after export: NaN in gives NaN out."""
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(ready, (images(2) / 255,), dynamic_shapes=shapes)
    x = images(3) / 255
    assert_close(program.module()(x), ready(x), atol=1e-5, rtol=1e-4)
    x[1, 0, 5, 5] = torch.nan
    heatmaps, _ = program.module()(x)
    assert heatmaps.isnan().any(dim=-1).any(dim=-1).all(dim=-1).tolist() == [False, True, False]
    assert heatmaps[0].isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_compiles(ready, dtype):
    x = images() if dtype == torch.uint8 else images() / 255
    assert_compiles(ready, x)


def test_folds_for_inference(ready):
    """torch fuses a convolution and a batch norm that follow each other in a Sequential."""
    folded, x = fold(ready), images()
    assert_close(folded(x), ready(x), atol=1e-4, rtol=1e-4)
