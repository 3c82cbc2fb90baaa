"""The benchmarks around the kernels run, as far as they do without a GPU."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, host, pipeline, report, tables, tune
from benchmarks.contestants import KERNELS, equal_forms, in_kernels
from benchmarks.measures import flops
from benchmarks.sizes import default_core
from handgraph.nn.kernels import Plan, Stage, dispatch
from handgraph.nn.kernels.core_op import _chain_core
from handgraph.nn.kernels.launch import Tiling
from handgraph.nn.kernels.ops import _chain, _chain_backward

TOY = Plan(3, (Stage((0,), 5, True), Stage((0, 1), 4, False)))


def test_pipeline(tmp_path, capsys):
    pytest.importorskip("timm")
    out = tmp_path / "pipeline.json"
    options = ["--batches", "1", "--image-size", "32", "--hidden-channels", "4"]
    pipeline.main(["--quick", "--budget", "0.01", *options, "--out", str(out)])
    (table,) = json.loads(out.read_text())["tables"]
    parts = {row["part"] for row in table["rows"]}
    assert parts == {"whole", "HRNet", "encoders", "core"}
    for row in table["rows"]:
        assert row["images_per_second"] * row["time"]["median"] == pytest.approx(1)
    assert tables.shares(table["rows"])[1][:2] == ["whole", "eager"]
    text = report.page(report.read(tmp_path))
    assert "## From an image, CPU" in text
    assert "| whole | eager |" in text
    assert "100.0%" in capsys.readouterr().out


def test_host(tmp_path, capsys):
    pytest.importorskip("triton")
    out = tmp_path / "host.json"
    host.main(["--rounds", "2", "--out", str(out)])
    found = {row["call"]: row for row in json.loads(out.read_text())["rows"]}
    kernels = {name: row["kernels"] for name, row in found.items()}
    assert kernels == {"forward": 6, "forward, folded": 1, "train": 14}
    assert found["forward, folded"]["operations"] == 0
    assert 0 < found["forward"]["operations"] < found["train"]["operations"] < 30
    median = 1e6 * found["train"]["time"]["median"]
    assert f"| train | {median:.0f} |" in report.page(report.read(tmp_path))
    assert "14 kernels" in capsys.readouterr().out


def test_tune(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the interpreter runs without a GPU")
    monkeypatch.setattr(tune, "TILINGS", [Tiling(16, 1, 1), Tiling(32, 1, 1)])
    monkeypatch.setattr(tune, "chains", lambda: {"toy": (TOY, 1)})
    out = tmp_path / "tune.json"
    tune.main(["--device", "cpu", "--batches", "1", "--out", str(out)])
    tables_ = json.loads(out.read_text())["tables"]
    assert [t["work"] for t in tables_] == ["toy, forward", "toy, backward", "folded core"]
    for table in tables_:
        times = [row["median"] for row in table["rows"]]
        assert len(times) == 2
        assert times == sorted(times)


def test_chains_are_those_of_the_core():
    branches, merger = tune.chains().values()
    assert branches[0].widths == (48, 64, 64, 64, 64, 20, 32, 32, 32, 32, 48)
    assert merger[0].widths[:2] == (336, 84)
    assert (branches[1], merger[1]) == (4, 1)


def test_gpu_wants_a_gpu(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit) as exit_:
        gpu.main([])
    assert exit_.value.code == 2
    assert "expected a CUDA device, found none" in capsys.readouterr().err


def test_steps_are_modules_that_exist(tmp_path):
    steps = dict(gpu.steps(tmp_path, quick=True))
    assert {"tests", "kernels", "tune", "core", "scaling", "pipeline"} <= set(steps)
    modules = [command[command.index("-m") + 1] for command in steps.values()]
    assert all(find_spec(module) for module in modules)
    assert Path(steps["tests"][3]).is_dir()


def test_kernels_are_for_those_who_ask(monkeypatch):
    monkeypatch.setattr(dispatch, "DEVICES", ("cpu",))
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    seen = []
    monkeypatch.setattr(dispatch, "_is_recent", lambda device: bool(seen.append(device)))
    core, x = default_core(), torch.randn(2, 21, 3)
    out = core(x)
    assert not seen
    monkeypatch.setitem(KERNELS, "cuda", "Triton")
    ours, folded = in_kernels(equal_forms(core), "cuda")
    assert torch.equal(ours.module(x), out)
    assert len(seen) == 2  # of branches and merger
    assert (ours.name, folded.name) == ("handgraph, Triton", "handgraph, folded, Triton")


def test_operations_of_the_kernels_are_counted():
    pytest.importorskip("triton")
    x, table = torch.zeros(7, 2, 3, device="meta"), torch.zeros(2, TOY.table_size, device="meta")
    grad = torch.zeros(7, 2, 4, device="meta")
    plan, each = TOY.encode(), 7 * 2 * 2 * (3 * 5 + 3 * 4 + 5 * 4)
    assert flops(lambda x: _chain(x, table, plan), x) == each
    assert flops(lambda x: _chain_backward(grad, x, table, plan), x) == 3 * each
    x, source = torch.zeros(7, 6, device="meta"), torch.zeros(2, 3, device="meta")
    merger = Plan(8, (Stage((0,), 6, False),))
    tables = table, torch.zeros(1, merger.table_size, device="meta")
    args = *tables, source, source, plan, merger.encode()
    assert flops(lambda x: _chain_core(x, *args), x) == each + 7 * 2 * 8 * 6
