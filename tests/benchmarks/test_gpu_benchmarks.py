"""The GPU benchmarks run as far as possible without a GPU."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks import fitting, gpu, pipeline, report, tables, tune
from benchmarks.contestants import Unavailable
from benchmarks.timing import Plan
from handgraph.nn.engines.cuda import launch
from handgraph.nn.engines.cuda.lower import lower
from handgraph.nn.plan import NodeMap, Shape, Stage, Term
from handgraph.vision import HeatmapGenerator, decode_heatmaps


def ones(source, *size):
    return Term(source, NodeMap(torch.ones(size)))


TOY = Stage((ones(0, 2, 5, 3),)), Stage((ones(0, 2, 4, 3), ones(1, 2, 4, 5)), relu=False)


PARTS = {
    "whole",
    "HRNet",
    "encoders",
    "encoders, shared trunk",
    "features sampled",
    "core",
}


def test_pipeline(tmp_path, capsys):
    pytest.importorskip("timm")
    out = tmp_path / "pipeline.json"
    options = ["--batches", "1", "--image-size", "32", "--hidden-channels", "4"]
    pipeline.main(["--quick", "--budget", "0.01", *options, "--out", str(out)])
    (table,) = json.loads(out.read_text())["tables"]
    assert {row["part"] for row in table["rows"]} == PARTS
    for row in table["rows"]:
        assert row["images_per_second"] * row["time"]["median"] == pytest.approx(1)
        assert ("pixels" in row) == (row["part"] in ("whole", "HRNet"))
        if row["form"] == "eager" and "pixels" in row:
            assert row["pixels"] == {"median": 0, "max": 0}
    assert tables.shares(table["rows"])[1][:2] == ["whole", "eager"]
    text = report.page(report.read(tmp_path))
    assert "## From an image, CPU" in text
    assert "| whole | eager |" in text
    assert "100.0%" in capsys.readouterr().out


class Shifted(torch.nn.Module):
    """A detector that shifts its joints."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        uv = x[:, 0, :2, :2] + self.shift
        return uv, x


def test_rows_of_runtimes_have_ratios_distances_or_the_reason():
    inputs = [torch.rand(3, 3, 8, 8) for _ in range(2)]
    calls = {"eager": Shifted(torch.zeros(2))}
    away = Shifted(torch.tensor([0.75, 1.0]))  # 1.25 half sides
    elsewhere = {"there": away, "absent": Unavailable("No module")}
    rows = pipeline.time_part("whole", calls, elsewhere, inputs, Plan(2, 0, 0, 2, 1))
    assert [row["form"] for row in rows] == ["eager", "there", "absent"]
    assert rows[1]["pixels"]["max"] == pytest.approx(5)
    assert "operations" not in rows[1]
    rows[0]["time"]["median"], rows[1]["time"]["median"] = 0.4, 0.1
    head, *body = tables.shares(rows)
    cells = [dict(zip(head, line, strict=True)) for line in body]
    assert cells[1]["vs eager"] == "4.00"
    assert cells[1]["pixels"] == "5.00, 5.00"
    assert cells[2]["ms"] == "No module"


def test_fitted_generator_has_peaks_nearer_to_the_joints():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    images, uv = fitting.rendered(64, 0, "cpu")
    generator = HeatmapGenerator(backbone="lcnet_050")
    error = []
    for steps in (2, 60):
        fitting.fit(generator, images, uv, steps)
        found = decode_heatmaps(generator(images)[0])[0]
        error.append((found - uv).norm(dim=-1).median().item())
    assert not generator.training
    assert error[1] < min(8, error[0] / 2)


def test_tune(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the interpreter runs without a GPU")
    blocks = [dict(launch.FEW, BLOCK=block) for block in (16, 32)]
    monkeypatch.setattr(tune, "TILINGS", blocks)
    monkeypatch.setattr(tune, "plans", lambda: {"toy": (TOY, Shape(2, 3, 1))})
    out = tmp_path / "tune.json"
    tune.main(["--device", "cpu", "--batches", "1", "--out", str(out)])
    found = json.loads(out.read_text())["tables"]
    assert [table["work"] for table in found] == ["toy, forward", "toy, forward and backward"]
    for table in found:
        times = [row["median"] for row in table["rows"]]
        assert len(times) == 2
        assert times == sorted(times)
        assert table["chosen"] == "BLOCK 16 num_warps 8 num_stages 2"
    (tmp_path / "summary.json").write_text('{"steps": {}}')
    first = found[0]["rows"][0]
    line = f"| toy, forward | 1 | {first['tiling']} | {1e6 * first['median']:.1f} |"
    assert line in report.page(report.read(tmp_path))


def test_plans_are_those_of_the_core():
    programs = {name: lower(*pair)[0] for name, pair in tune.plans().items()}
    widths = [step.width for step in programs["branches"].steps]
    assert widths == [48, 64, 64, 64, 64, 20, 32, 32, 32, 32, 48]
    assert programs["branches"].out.branches == 4
    assert programs["merger"].out.branches == programs["core"].out.branches == 1
    assert [step.reads for step in programs["core"].steps].count(()) == 4
    whole = tune.plans()["core"][1]
    assert whole.nodes * whole.channels == programs["core"].steps[-1].width == 63


def test_gpu_benchmark_exits_without_a_gpu(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit) as exit_:
        gpu.main([])
    assert exit_.value.code == 2
    assert "expected a CUDA device, found none" in capsys.readouterr().err


def test_steps_are_modules_that_exist(tmp_path):
    steps = dict(gpu.steps(tmp_path, quick=True))
    assert {"tests", "tune", "core", "scaling", "pipeline"} <= set(steps)
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
        gpu.main(["--out", str(tmp_path), "--only", "tune", "scaling", "--limit", "60"])
    assert exit_.value.code == 0
    assert ran == [("benchmarks.tune", 60), ("benchmarks.scaling", 60)]
    assert {"tune", "scaling"} <= set(json.loads((tmp_path / "summary.json").read_text())["steps"])
    with pytest.raises(SystemExit):
        gpu.main(["--only", "core", "cores"])
    assert "expected some of tests, " in capsys.readouterr().err


def test_a_step_beyond_its_time_limit_is_stopped():
    found = gpu.run([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.2)
    assert found["exit_code"] == gpu.TIMED_OUT
    assert found["seconds"] < 30
    assert gpu.run([sys.executable, "-c", "exit(3)"], limit=60)["exit_code"] == 3
