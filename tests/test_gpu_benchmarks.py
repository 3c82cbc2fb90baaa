"""The benchmarks around the kernels run, as far as they do without a GPU."""

from __future__ import annotations

import json
import sys
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


def test_page_of_the_kernels_by_value():
    sizes = {"block": 16, "warps": 8, "quick": True, "registers": 98, "shared": 40960}
    loop = {"instructions": 198, "cycles": 400, "barriers": 2}
    around = {"tile_instructions": 84, "tile_cycles": 190, "tile_barriers": 3}
    row = {"kernel": "core", "dtype": "float32", "precision": "tf32", **sizes, **loop, **around}
    where = {"triton": "3.6.0", "torch": "2.11.0", "date": "2020-01-02"}
    chain = {"parts": 10, "tiles": 5}
    text = report.kernels(
        {"machine": where, "capability": 8.6, "kernels": [row], "folded_core": chain}
    )
    assert text.startswith("## The kernels, compiled for 8.6\n\nTriton 3.6.0, torch 2.11.0;")
    cells = "core, quick | 16 | 8 | float32 | tf32 | 98 | 40 | 198 | 400 | 2 | 84 | 190 | 3"
    assert f"| {cells} |" in text
    assert "16 samples go through the 10 parts and 5 tiles" in text
    assert text.endswith("in 4,950 cycles.")


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
    (tmp_path / "summary.json").write_text('{"steps": {}}')
    first = tables_[0]["rows"][0]
    line = f"| toy, forward | 1 | {first['tiling']} | {1e6 * first['median']:.1f} |"
    assert line in report.page(report.read(tmp_path))


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


def test_quick_steps_have_the_batches_of_the_goals(tmp_path):
    steps = dict(gpu.steps(tmp_path, quick=True))
    for name in ("core", "tune"):
        batches = steps[name][steps[name].index("--batches") + 1 :][:3]
        assert batches == ["1", "32", "4096"], name


def test_only_some_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "machine", lambda device: {"device": str(device)})
    ran = []
    step = {"exit_code": 0}
    monkeypatch.setattr(gpu, "run", lambda command, limit: ran.append((command[4], limit)) or step)
    with pytest.raises(SystemExit) as exit_:
        gpu.main(["--out", str(tmp_path), "--only", "tune", "host", "--limit", "60"])
    assert exit_.value.code == 0
    assert ran == [("benchmarks.tune", 60), ("benchmarks.host", 60)]
    assert {"tune", "host"} <= set(json.loads((tmp_path / "summary.json").read_text())["steps"])
    with pytest.raises(SystemExit):
        gpu.main(["--only", "core", "cores"])
    assert "expected some of tests, " in capsys.readouterr().err


def test_a_step_that_hangs_is_stopped():
    found = gpu.run([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.2)
    assert found["exit_code"] == gpu.TIMED_OUT
    assert found["seconds"] < 30
    assert gpu.run([sys.executable, "-c", "exit(3)"], limit=60)["exit_code"] == 3


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
