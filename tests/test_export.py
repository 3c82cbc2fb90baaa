"""Exported nets compute the same at any batch size: torch.export, ONNX and AOTInductor."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.export import load_onnxruntime, load_openvino, to_onnx, trace
from handgraph.hub import BranchLifter, pretrained_lifter
from handgraph.nn import (
    AdaptiveGraphUNet,
    GatedMerger,
    GraphMerger,
    SubgraphMask,
    VisibilityLifter,
    fold,
)

EXAMPLE = Path(__file__).parents[1] / "examples" / "export.py"
BATCHES = (1, 3, 8)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
pytestmark = pytest.mark.filterwarnings(
    "ignore:No complete tensor found in the group:UserWarning",  # torch.export.save
    "ignore:The given buffer is not writable:UserWarning",  # torch.export.load, torch 2.11
)

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "nothing": ()})


def core(removal=LEVELS, merger=GraphMerger):
    branches = AdaptiveGraphUNet(2, 3, removal)
    return nn.Sequential(SubgraphMask(removal), branches, merger(3, 3, removal)).eval()


def folded():
    return fold(core())


def branch_lifter():
    return BranchLifter(2, 3, RAGGED).eval()


def gated():
    return core(RAGGED, GatedMerger)


NETS = {  # and how many inputs they have
    "core": (core, 1),
    "gated": (gated, 1),
    "folded": (folded, 1),
    "saved": (branch_lifter, 1),
    "lifter": (pretrained_lifter, 2),
    "lifter without scores": (pretrained_lifter, 1),
}


def inputs(batch, count):
    return (torch.rand(batch, 21, 2), torch.rand(batch, 21))[:count]


def program(net, count):
    return trace(net, *inputs(2, count))


def onnx_session(net, *examples):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return load_onnxruntime(to_onnx(net, *examples))


@torch.no_grad()
def assert_agrees(run, net, count):
    for batch in BATCHES:
        some = inputs(batch, count)
        if batch == 3:
            some[0][1, 5] = torch.nan  # a missing joint for lifters; for others, this hand is NaN
            for score in some[1:]:
                score[2, :4] = 0  # missing joints
        assert_close(run(*some), net(*some), equal_nan=True, **CLOSE)


@pytest.mark.parametrize("name", NETS)
def test_exported_program_computes_the_same(name, tmp_path):
    build, count = NETS[name]
    net = build()
    torch.export.save(program(net, count), tmp_path / "net.pt2")
    assert_agrees(torch.export.load(tmp_path / "net.pt2").module(), net, count)


NO_SEGMENTS = pytest.mark.xfail(raises=RuntimeError, reason="ONNX has no segment_reduce")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=NO_SEGMENTS if n == "gated" else ()) for n in NETS]
)
def test_onnx_computes_the_same(name):
    build, count = NETS[name]
    net = build()
    assert_agrees(onnx_session(net, *inputs(2, count)), net, count)


@pytest.mark.slow
def test_visibility_lifters_run_in_onnxruntime():
    nets = (AdaptiveGraphUNet(channels, out, HAND) for channels, out in ((3, 1), (2, 3)))
    net = VisibilityLifter(*nets, HAND).eval()
    some = torch.rand(2, 21, 2), torch.rand(2, 21, 1)
    run = onnx_session(net, *some)
    for batch in BATCHES:
        some = torch.rand(batch, 21, 2), torch.rand(batch, 21, 1)
        assert_close(run(*some), net(*some), **CLOSE)


@pytest.mark.slow
def test_removed_joints_stay_without_influence_in_onnx():
    net = nn.Sequential(SubgraphMask(RAGGED), AdaptiveGraphUNet(2, 3, RAGGED)).eval()
    run = onnx_session(net, *inputs(2, 1))
    pose = torch.rand(2, 21, 2)
    before = run(pose)[:, 0]
    pose[:, HAND.select("TIP")] = torch.nan  # the first set removes them
    after = run(pose)
    assert torch.equal(after[:, 0], before)
    assert after[:, 2].isnan().any()


@torch.no_grad()
def settle(net, side):
    """Give batch norms the statistics of noise: the outputs of random nets become about 1."""
    for _ in range(30):
        net.train()(torch.randint(256, (4, 3, side, side), dtype=torch.uint8))
    return net.eval()


def psjnet(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    from handgraph.vision import HeatmapGenerator
    from psjnet import PoseNet, PSJNetLifter

    torch.manual_seed(0)
    lifter = PSJNetLifter(128, encoder_channels=16)
    return settle(PoseNet(HeatmapGenerator(backbone="hrnet_w18_small"), lifter), 64)


LOADERS = {"onnxruntime": load_onnxruntime, "openvino": load_openvino}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", LOADERS)
@torch.no_grad()
def test_psjnet_and_its_generator_compute_the_same_from_images(runtime, monkeypatch):
    pytest.importorskip("onnxscript")
    pytest.importorskip(runtime)
    whole = psjnet(monkeypatch)
    example = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    for net in (whole, whole.generator):
        run = LOADERS[runtime](to_onnx(net, example))
        for batch in BATCHES:
            image = torch.randint(256, (batch, 3, 64, 64), dtype=torch.uint8)
            assert whole.detect(image).uv.std() > 0.1  # joints are found in different places
            for out, expected in zip(run(image), net(image), strict=True):
                assert_close(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_bfloat16_is_near(monkeypatch):
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    generator = psjnet(monkeypatch).generator
    image = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8)
    model = to_onnx(generator, image)
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ValueError, match="this processor does not support bfloat16"):
            load_openvino(model, dtype=torch.bfloat16)
        return
    features, expected = load_openvino(model, dtype=torch.bfloat16)(image)[1], generator(image)[1]
    error = (features - expected).abs().max() / expected.abs().max()
    assert 1e-5 < error < 0.1  # not float32, and not far


class Two(nn.Module):
    """A module with two inputs and two outputs."""

    def forward(self, x, y):
        return {"sum": x + y, "product": x * y}


@pytest.mark.parametrize("runtime", LOADERS)
def test_several_inputs_and_outputs_keep_their_order(runtime, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip(runtime)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(Two().eval(), torch.rand(2, 3), torch.rand(2, 3)))
    run = LOADERS[runtime](path, threads=1)
    x, y = torch.rand(3, 5).mT, torch.rand(5, 3)  # the first is not contiguous
    total, product = run(x, y)
    assert_close(total, x + y)
    assert_close(product, x * y)
    again = run(y, y)[0]
    assert_close(total, x + y)  # the memory of one call is not the next one's
    assert_close(again, 2 * y)
    with pytest.raises(ValueError, match="expected 2 inputs, got 1"):
        run(x)


def test_openvino_rejects_other_dtypes():
    pytest.importorskip("onnxscript")
    pytest.importorskip("openvino")
    run = load_openvino(to_onnx(nn.ReLU().eval(), torch.rand(2, 3)))
    with pytest.raises(TypeError, match="expected inputs of float32, got uint8"):
        run(torch.zeros(2, 3, dtype=torch.uint8))


def test_export_raises_for_invalid_inputs(monkeypatch):
    relu, x = nn.ReLU().eval(), torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"'1' is in training mode: call .eval\(\) first"):
        trace(nn.Sequential(relu).eval().append(nn.Dropout()), x)
    with pytest.raises(ValueError, match=r"same B >= 2, got \[1, 3\] for input 0"):
        trace(relu, x[:1])
    with pytest.raises(ValueError, match=r"same B >= 2, got \[3, 3\] for input 1"):
        trace(Two().eval(), x, torch.rand(3, 3))
    with pytest.raises(TypeError, match="expected input 0 as torch.Tensor, got ndarray"):
        trace(relu, x.numpy())
    with pytest.raises(ValueError, match="an example of each input, got none"):
        trace(relu)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'handgraph\[export\]'"):
        to_onnx(relu, x)


def test_loading_raises_for_invalid_inputs(monkeypatch):
    for name, load in LOADERS.items():
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(ImportError, match=r"pip install 'handgraph\["):
                load(b"")
    if find_spec("openvino"):
        with pytest.raises(ValueError, match=r"float32 or torch.bfloat16, got torch.float16"):
            load_openvino(b"", dtype=torch.float16)
        with pytest.raises(ValueError, match="threads to be at least 1, got 0"):
            load_openvino(b"", threads=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["core", "lifter"])
def test_compiled_package_computes_the_same(name, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("AOTInductor needs a C++ compiler (g++), and there is none")
    build, count = NETS[name]
    net = build()
    path = str(tmp_path / f"{name}.pt2")
    torch._inductor.aoti_compile_and_package(program(net, count), package_path=path)
    assert_agrees(torch._inductor.aoti_load_package(path), net, count)


@pytest.mark.slow
def test_example_writes_the_listed_files(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("timm")
    command = [sys.executable, str(EXAMPLE), "--out", str(tmp_path), "--formats", "pt2", "onnx"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.rsplit(maxsplit=3) for line in run.stdout.splitlines()[1:]]
    nets = ("core", "folded", "lifter", "generator", "psjnet")
    kinds = {"pt2": ["torch"], "onnx": ["onnxruntime"]}
    kinds["onnx"] += ["OpenVINO"] if find_spec("openvino") else []
    expected = [(f"{n}.{kind}", runs) for n in nets for kind in kinds for runs in kinds[kind]]
    expected.remove(("psjnet.pt2", "torch"))
    assert [(file.strip(), runtime) for file, _, runtime, _ in rows] == expected
    for file, size, _, error in rows:
        assert float(error) <= 1e-4
        assert int(size) == pytest.approx((tmp_path / file.strip()).stat().st_size / 1024, abs=1)
