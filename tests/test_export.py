"""What leaves Python computes the same: torch.export, ONNX, AOTInductor, at any batch size."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
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
    dynamic = tuple([{0: torch.export.Dim.DYNAMIC}] * count)
    return torch.export.export(net, inputs(2, count), dynamic_shapes=dynamic)


def onnx_session(exported):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = torch.onnx.export(exported, dynamo=True, verbose=False).model_proto
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [entry.name for entry in session.get_inputs()]

    def run(*values):
        feed = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@torch.no_grad()
def assert_agrees(run, net, count):
    for batch in BATCHES:
        some = inputs(batch, count)
        if batch == 3:
            some[0][1, 5] = torch.nan  # one hand is lost, and it alone
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
    assert_agrees(onnx_session(program(net, count)), net, count)


@pytest.mark.slow
def test_lifters_that_remove_what_is_hidden_run_in_onnx():
    nets = (AdaptiveGraphUNet(channels, out, HAND) for channels, out in ((3, 1), (2, 3)))
    net = VisibilityLifter(*nets, HAND).eval()
    some = torch.rand(2, 21, 2), torch.rand(2, 21, 1)
    dynamic = ({0: torch.export.Dim.DYNAMIC},) * 2
    run = onnx_session(torch.export.export(net, some, dynamic_shapes=dynamic))
    for batch in BATCHES:
        some = torch.rand(batch, 21, 2), torch.rand(batch, 21, 1)
        assert_close(run(*some), net(*some), **CLOSE)


@pytest.mark.slow
def test_removed_joints_stay_without_influence_in_onnx():
    net = nn.Sequential(SubgraphMask(RAGGED), AdaptiveGraphUNet(2, 3, RAGGED)).eval()
    run = onnx_session(program(net, 1))
    pose = torch.rand(2, 21, 2)
    before = run(pose)[:, 0]
    pose[:, HAND.select("TIP")] = torch.nan  # the first set removes them
    after = run(pose)
    assert torch.equal(after[:, 0], before)
    assert after[:, 2].isnan().any()


class Pose(nn.Module):
    """PSJNet without what it gives beside the pose."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        return self.net(image).pose


@pytest.mark.slow
def test_psjnet_computes_the_same_from_images(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    from handgraph.vision import HeatmapGenerator
    from psjnet import PoseNet, PSJNetLifter

    lifter = PSJNetLifter(128, encoder_channels=16)
    net = Pose(PoseNet(HeatmapGenerator(backbone="hrnet_w18_small"), lifter)).eval()
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(net, (torch.rand(2, 3, 64, 64),), dynamic_shapes=dynamic)
    session, module = onnx_session(exported), exported.module()
    with torch.no_grad():
        for batch in BATCHES:
            image = torch.rand(batch, 3, 64, 64)
            expected = net(image)
            assert net.net.detect(image).uv.std() > 0.1  # joints are found in different places
            assert_close(module(image), expected, **CLOSE)
            assert_close(session(image), expected, **CLOSE)


@pytest.mark.slow
def test_compiled_package_computes_the_same(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("AOTInductor needs a C++ compiler (g++), and there is none")
    net = core()
    path = str(tmp_path / "core.pt2")
    torch._inductor.aoti_compile_and_package(program(net, 1), package_path=path)
    assert_agrees(torch._inductor.aoti_load_package(path), net, 1)


@pytest.mark.slow
def test_example_writes_what_it_says(tmp_path):
    pytest.importorskip("onnxruntime")
    command = [sys.executable, str(EXAMPLE), "--out", str(tmp_path), "--formats", "pt2", "onnx"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in run.stdout.splitlines()[1:]]
    files = {row[0]: row[1:] for row in rows}
    nets = ("core", "folded", "lifter")
    assert files.keys() == {f"{net}.{kind}" for net in nets for kind in ("pt2", "onnx")}
    for name, (size, error) in files.items():
        assert float(error) <= 1e-5
        assert int(size) == pytest.approx((tmp_path / name).stat().st_size / 1024, abs=1)
