"""All contestants compute the same function, and measured numbers are correct."""

import itertools
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import (
    backbones,
    compare,
    contestants,
    core,
    encoders,
    exported,
    measures,
    parts,
    report,
    scaling,
    tables,
    threads,
    timing,
    versions,
)
from benchmarks.sizes import SIZES, poses, scaled_core, seeded
from handgraph.datasets import SyntheticHands
from handgraph.geometry import normalize_uv
from handgraph.nn import engines
from handgraph.nn.engines.cpu import refusal
from handgraph.nn.plan import NodeMap, Stage, Term
from handgraph.vision import HeatmapGenerator

ROOT = Path(__file__).parents[2]
QUICK = timing.Plan(rounds=2, block=0, budget=0, min_rounds=2, warm_up=1)


def forms(core):
    return {form.name: form for form in contestants.equal_forms(core)}


@pytest.fixture(scope="module", params=SIZES)
def net(request):
    return seeded(SIZES[request.param]).double()


@pytest.fixture(scope="module")
def small():
    return seeded(lambda: scaled_core(joints=6, branches=2, depth=2)).double()


def step(module, x):
    """Take a step of gradient descent on all parameters."""
    module(x).square().sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.1 * parameter.grad


def test_equal_forms_give_the_same_output(net):
    x = poses(3, 21, 1)[0].double()
    for name, form in forms(net).items():
        assert_close(form.module(x), net(x), rtol=1e-9, atol=1e-9, msg=lambda m, n=name: n + m)


def test_equal_forms_still_give_the_same_after_a_step_of_training(net):
    x = poses(3, 21, 1)[0].double()
    trained = {name: form.module for name, form in forms(net).items() if form.trains}
    for module in trained.values():
        step(module, x)
    ours = trained[contestants.OURS](x)
    assert (ours - net(x)).abs().max() > 1e-3
    for name, module in trained.items():
        assert_close(module(x), ours, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: n + m)


def test_contestants_share_no_parameters(small):
    before = small(poses(2, 6, 1)[0].double())
    for form in forms(small).values():
        if form.trains:
            step(form.module, poses(2, 6, 1)[0].double())
    assert torch.equal(small(poses(2, 6, 1)[0].double()), before)


def test_seeded_cores_are_equal_and_their_adjacency_is_not_the_identity():
    first, _, second = seeded(SIZES["default"]), torch.rand(1), seeded(SIZES["default"])
    assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)
    adjacency = first.branches.adjacency[0]
    assert (adjacency - torch.eye(16)).abs().max() > 0.1


def test_ragged_branches_are_refused(small):
    small = seeded(lambda: scaled_core(joints=6, branches=2))
    small.branches.is_ragged = True
    with pytest.raises(ValueError, match="equally many"):
        contestants.equal_forms(small)


def fake(seconds):
    """Return a stopwatch that reports the given times, and the list of its arguments."""
    seen = []

    def stopwatch(call, inputs):
        seen.append((call, list(inputs)))
        return seconds[call] * len(inputs)

    return stopwatch, seen


def test_each_round_runs_each_call_once_in_a_random_order():
    stopwatch, seen = fake({"a": 1.0, "b": 2.0, "c": 3.0})
    plan = timing.Plan(rounds=12, block=0, budget=1e9, warm_up=1)
    times = timing.interleave({n: n for n in "abc"}, [0, 1], stopwatch, plan)
    assert times == {"a": [1.0] * 12, "b": [2.0] * 12, "c": [3.0] * 12}
    assert seen[3::2] == seen[4::2]  # each once before it is timed
    order = ["".join(call for call, _ in seen[i : i + 6 : 2]) for i in range(3, len(seen), 6)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in order)
    assert len(set(order)) > 1


def test_short_calls_are_repeated_and_inputs_rotate():
    stopwatch, seen = fake({"a": 0.25})
    plan = timing.Plan(rounds=2, block=1.0, budget=1e9, warm_up=1)
    assert timing.interleave({"a": "a"}, [0, 1, 2], stopwatch, plan) == {"a": [0.25, 0.25]}
    assert [inputs for _, inputs in seen] == [[0], [0], [0, 1, 2, 0], [1], [1, 2, 0, 1]]


def test_slow_calls_stop_when_their_budget_is_spent():
    stopwatch, _ = fake({"slow": 10.0, "fast": 0.1})
    plan = timing.Plan(rounds=20, block=0, budget=5.0, min_rounds=3, warm_up=1)
    times = timing.interleave({n: n for n in ("slow", "fast")}, [0], stopwatch, plan)
    assert (len(times["slow"]), len(times["fast"])) == (3, 20)


def test_before_runs_before_each_call():
    stopwatch, seen = fake({"a": 0.25})
    plan = timing.Plan(rounds=3, block=1.0, warm_up=1)
    flushes = []
    timing.interleave({"a": "a"}, [0], stopwatch, plan, before=lambda: flushes.append(len(seen)))
    assert flushes == [1, 2, 3]


def test_cpu_stopwatch_measures_all_calls(monkeypatch):
    ticks = itertools.count(5.0, 0.5)
    monkeypatch.setattr(timing, "perf_counter", lambda: next(ticks))
    calls = []
    assert timing.cpu_stopwatch(calls.append, [1, 2]) == 0.5
    assert calls == [1, 2]


def test_summary_has_median_and_quartiles():
    found = timing.summary([5.0, 1.0, 2.0, 3.0, 4.0])
    assert found == {"median": 3.0, "q25": 2.0, "q75": 4.0, "rounds": 5}


def test_operations_are_counted_without_views():
    x = torch.rand(4, 4)
    assert measures.operations(lambda x: (x.t() @ x).view(2, 8).relu(), x) == 2


def test_flops_of_a_product():
    assert measures.flops(lambda x: x @ x, torch.rand(4, 4)) == 2 * 4**3


NUMBA = pytest.param(
    "numba", marks=pytest.mark.skipif(refusal.missing() is not None, reason="needs numba")
)


@pytest.mark.parametrize("engine", ["reference", NUMBA])
def test_flops_of_a_plan_equal_those_of_its_products(engine):
    """Three branches and five samples; the second stage maps nodes, then channels."""
    first = Stage((Term(0, NodeMap(torch.rand(3, 6, 7))),), relu=False)
    hidden = Stage((Term(1, NodeMap(torch.rand(3, 4, 6)), torch.rand(3, 8, 2)),))
    plan = first, hidden, Stage((Term(2, NodeMap(torch.rand(3, 2, 4))),), relu=False)
    pooled, nodes, channels = 6 * 7 * 2 * 5, 4 * 6 * 2 * 5, 4 * 2 * 8 * 5
    last = 2 * 4 * 8 * 5
    with engines.use(engine):
        found = measures.flops(lambda x: engines.run(plan, x), torch.rand(5, 3, 7, 2))
    assert found == 2 * 3 * (pooled + nodes + channels + last)


def test_flops_of_the_readable_form_equal_those_of_its_layers(small):
    """Its convolutions mix the nodes first, then the channels."""
    batch, total = 5, 0
    for net in (small.branches, small.merge.unet):
        layers = 0
        for level, (many, few) in enumerate(itertools.pairwise(net.nodes)):
            for conv in (net.encoder[level], net.decoder[level]):
                ins, outs = conv.in_channels, conv.out_channels
                layers += many * many * ins + many * ins * outs
            layers += 2 * many * few * net.encoder[level].out_channels  # pool and unpool
        bottleneck = 2 * net.nodes[-1] * net.squeeze.in_channels * net.squeeze.out_channels
        total += 2 * batch * len(net.node_mask) * (layers + bottleneck)
    readable = forms(small)[contestants.READABLE].module
    assert measures.flops(readable, poses(batch, 6, 1)[0].double()) == total


@pytest.mark.skipif(refusal.missing() is not None, reason="needs numba")
def test_engines_multiply_less_than_the_readable_form():
    same = contestants.equal_forms(seeded(SIZES["default"]))
    (x,) = poses(32, 21, 1)
    everyone = {c.name: c.module for c in [*same, *contestants.by_engine(same, "cpu")]}
    readable = measures.flops(everyone[contestants.READABLE], x)
    for name in (contestants.OURS, f"{contestants.OURS}, numba"):
        assert 0 < measures.flops(everyone[name], x) < readable


def test_peak_memory_is_the_maximum_of_simultaneous_allocations():
    def call(x):
        first = x + 1
        second = first + 1
        del first
        return second + 1  # two of three are held at once

    assert measures.peak_memory(call, torch.rand(1024, 1024)) == pytest.approx(
        8 * 1024**2, rel=1e-3
    )


@pytest.mark.parametrize("phase", contestants.PHASES)
def test_error_is_that_of_single_precision(small, phase):
    x = poses(2, 6, 1)[0]
    single = contestants.Contestant("single", seeded(lambda: scaled_core(6, 2, 2)))
    assert 0 < measures.relative_error(single, single.module, x, phase) < 1e-5
    wrong = contestants.Contestant("wrong", torch.nn.Linear(3, 3))
    assert measures.relative_error(wrong, single.module, x, phase) > 1e-2


@pytest.mark.parametrize("phase", contestants.PHASES)
def test_comparison_has_a_full_row_for_each_contestant(phase):
    net = seeded(lambda: scaled_core(joints=6, branches=2, depth=2))
    everyone = [form for form in forms(net).values() if form.trains]
    broken = contestants.Contestant("broken", torch.nn.Linear(7, 3))
    rows = compare.compare(net, [*everyone, broken], phase, poses(2, 6, 2), QUICK)
    assert [row["name"] for row in rows] == [*(c.name for c in everyone), "broken"]
    for row in rows[:-1]:
        assert row["hot"]["rounds"] == 2
        assert row["error"] < 1e-5
        assert min(row["operations"], row["flops"], row["peak_bytes"]) > 0
    assert rows[-1]["reason"].startswith("RuntimeError: ")


def test_calls_beyond_a_limit_are_skipped_with_the_reason():
    everyone = [contestants.Contestant(name, torch.nn.Identity()) for name in "abcd"]
    before = [
        {"name": "a", "hot": {"median": 1.0}, "peak_bytes": 1e9},
        {"name": "b", "hot": {"median": 3.0}, "peak_bytes": 1e9},
        {"name": "c", "hot": {"median": 1.0}, "peak_bytes": 5e9},
        {"name": "d", "reason": "RuntimeError: no"},
    ]
    stay, rows = compare.too_large(everyone, before, 2.0, 5.0, 8.0)
    assert [c.name for c in stay] == ["a"]
    reasons = [row["reason"] for row in rows]
    assert reasons == [
        "left out: about 6 s a call",
        "left out: about 10 GB a call",
        before[3]["reason"],
    ]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_slope_is_the_exponent_of_the_larger_sizes(power):
    values = [1, 2, 4, 8, 16, 32]
    times = [7.0 if v < 8 else 3.0 * v**power for v in values]
    assert scaling.slope(values, times) == pytest.approx(power)


# Engines, compilers and other runtimes


def test_each_available_engine_has_its_own_rows(small, monkeypatch):
    same, x = contestants.equal_forms(small), poses(3, 6, 1)[0].double()
    monkeypatch.setattr(refusal, "missing", lambda: None)
    found = contestants.by_engine(same, "cpu")
    assert [c.name for c in found] == ["handgraph, numba", "handgraph, folded, numba"]
    assert [c.trains for c in found] == [True, False]
    for contestant in found:
        assert_close(contestant.module(x), small(x), rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(contestants.cuda, "refuses_here", lambda: None)
    found = contestants.by_engine(same, "cuda")
    assert [c.name for c in found] == ["handgraph, Triton", "handgraph, folded, Triton"]
    monkeypatch.setattr(refusal, "missing", lambda: "numba is not installed")
    assert contestants.by_engine(same, "cpu") == []


@pytest.mark.skipif(refusal.missing() is not None, reason="needs numba")
def test_a_contestant_run_by_another_engine_has_no_time():
    """If another engine runs a part, the row for numba has the reason instead of a time."""
    net = seeded(lambda: scaled_core(joints=6, branches=2, depth=2))
    ours, folded = contestants.by_engine(contestants.equal_forms(net), "cpu")
    ours.module.branches.squeeze.register_forward_hook(lambda *_: None)
    folded.module.half()
    (x,) = poses(2, 6, 1)
    (row,) = compare.compare(net, [ours], "train", [x], QUICK)
    assert row["reason"] == "RuntimeError: not run by numba: squeeze has hooks"
    assert "hot" not in row
    (row,) = compare.compare(net, [folded], "forward", [x.half()], QUICK)
    assert row["reason"] == "RuntimeError: not run by numba: the input is torch.float16"


def test_the_library_is_compiled_at_most_twice_for_all_batch_sizes(small, monkeypatch):
    graphs, compile_ = [], torch.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(
        torch, "compile", lambda net, dynamic: compile_(net, dynamic=dynamic, backend=backend)
    )
    ours, once = contestants.compiled(small)
    assert (ours.name, once.name) == (
        contestants.COMPILED,
        f"{contestants.NORMALIZED_ONCE}, compiled",
    )
    assert contestants.is_compiled(ours)
    assert contestants.is_compiled(once)
    call = contestants.forward_call(ours)
    for batch in (5, 3, 7, 4):
        x = poses(batch, 6, 1)[0].double()
        assert_close(call(x), small(x).detach(), rtol=1e-9, atol=1e-9)
    assert len(graphs) <= 2


def by_name(found):
    return {contestant.name: contestant for contestant in found}


def test_exported_cores_compute_the_same_at_any_batch():
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    net = seeded(lambda: scaled_core(joints=6, branches=2, depth=2))
    found = by_name(exported.exported(net))
    assert list(found) == ["onnxruntime", "onnxruntime, folded", "OpenVINO, folded"]
    for name, contestant in found.items():
        if "OpenVINO" in name and isinstance(contestant.module, contestants.Unavailable):
            assert "pip install 'handgraph[openvino]'" in contestant.module.reason
            continue
        for batch in (1, 5):
            (x,) = poses(batch, 6, 1)
            out = contestants.forward_call(contestant)(x)
            assert_close(out, net(x).detach(), rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m)
    (row,) = compare.compare(net, [found["onnxruntime"]], "forward", poses(2, 6, 2), QUICK)
    assert 0 < row["error"] < 1e-5
    assert row["hot"]["rounds"] == 2
    assert not {"operations", "flops", "peak_bytes"} & set(row)


def test_table_gives_the_reason_for_a_runtime_that_is_not_installed(small, monkeypatch):
    monkeypatch.setattr(exported, "to_onnx", lambda module, x: b"")
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    rows = compare.compare(small, exported.exported(small), "forward", poses(2, 6, 2), QUICK)
    needs = "RuntimeError: load_{0} needs {0}: pip install 'handgraph[{1}]'"
    assert [row["reason"] for row in rows] == [
        needs.format("onnxruntime", "export"),
        needs.format("onnxruntime", "export"),
        needs.format("openvino", "openvino"),
    ]
    assert tables.table(rows, 1e10)[3][1] == rows[2]["reason"]


def test_export_is_for_the_cpu(capsys):
    with pytest.raises(SystemExit):
        core.parse(["--export", "--device", "cuda"])
    assert "--export: expected --device cpu" in capsys.readouterr().err


# The report, by value


def timed(name, seconds, same=True):
    spread = {"median": seconds, "q25": 0.5 * seconds, "q75": 2 * seconds, "rounds": 9}
    more = {"operations": 7, "peak_bytes": 2_000_000}
    exact = {"flops": 5_000_000, "error": 3e-7} if same else {}
    return {"name": name, "same": same, "hot": spread, "cold": spread, **more, **exact}


ROWS = [
    timed(contestants.HOPE_NET, 0.004),
    timed(contestants.NORMALIZED_ONCE, 0.002),
    timed(contestants.PYG[0], 0.003),
    timed(contestants.PYG[1], 0.006),
    timed(contestants.OURS, 0.0025),
    timed("other", 0.001, same=False),
    {"name": contestants.PYG[2], "same": True, "reason": "left out"},
]


def test_table_by_value():
    cells = {line[0]: line[1:] for line in tables.table(ROWS, rate=1e10)}
    ours = ["2.5", "1.25-5", "2.5", "1.60", "1.20", "**0.80 slower**", "7", "2.00", "3e-07", "20.0"]
    assert cells[contestants.OURS] == ours
    assert cells["other *"][3:] == ["4.00", "3.00", "2.00", "7", "2.00", "-", "-"]
    assert cells[contestants.PYG[2]] == ["left out", *["-"] * 9]


MACHINE = {
    "date": "2020-01-02",
    "device": "cpu",
    "cpu": "Some CPU",
    "cores": 2,
    "system": "Linux",
    "python": "3.11.0",
    "torch": "2.11.0",
    "torch_geometric": "2.8.0",
    "handgraph": "0.1.0",
    "cuda": None,
}
ORIGIN = {"machine": MACHINE, "quick": False, "seed": 0}


def test_page_by_value():
    found = {"sizes": "default", "threads": 2, "phase": "train", "batch": 32}
    times = {"benchmark": "core", "tables": [{**found, "matmul_rate": 1e10, "rows": ROWS}]}
    fit = {"axis": "batch", "name": "handgraph", "largest": 64, "time": 0.93, "memory": 1.0}
    growth = {
        "benchmark": "scaling",
        "phase": "forward",
        "picture": "scaling.png",
        "slopes": [fit],
        "rows": [{"axis": "batch", "value": 64, **timed("handgraph", 0.25)}],
    }
    spread = {"median": 0.5, "q25": 0.25, "q75": 1.0, "rounds": 3}
    data = {
        "benchmark": "data",
        "threads": 1,
        "simulation": {"num_samples": 2000, **spread, "per_second": 4000.0},
        "rendering": [{"image_size": 64, **spread, "per_second": 300.0}],
        "imports": [{"name": "torch", **spread, "peak_bytes": 3e8}],
    }
    hot = {"1": {**spread, "median": 2e-3}, "2": {**spread, "median": 2.5e-3}}
    row = {"phase": "train", "batch": 32, "name": "handgraph", "hot": hot}
    both = {"benchmark": "threads", "threads": [1, 2], "rows": [row]}
    text = report.page([{**result, **ORIGIN} for result in (times, growth, data, both)])
    assert "| training | 32 | handgraph | 2 | 2.5 | **0.80 slower** |" in text
    assert "Some CPU, 2 cores, Linux; Python 3.11.0, torch 2.11.0, torch-geometric 2.8.0" in text
    assert "### Default sizes, training, batch 32, threads 2\n\n| implementation |" in text
    assert "| handgraph | 2.5 | 1.25-5 | 2.5 | 1.60 | 1.20 | **0.80 slower** |" in text
    assert "| batch | handgraph | n^0.93 | n^1.00 | 64 | 250 |" in text
    assert "(results/scaling.png)" in text
    assert "makes 4000 samples per second (2000 in one call, 3 rounds, threads 1)" in text
    assert "makes 300 images of 64 pixels per second." in text
    assert "| `torch` | 0.50 | 0.25-1.00 | 300 |" in text


def test_report_writes_the_results_of_a_run(tmp_path, capsys):
    small = ["--quick", "--batches", "1", "2", "--phases", "forward", "--budget", "0.01"]
    core.main([*small, "--limit", "1e-9", "--out", str(tmp_path / "core.json")])
    first, second = report.read(tmp_path)[0]["tables"]
    assert all(row["hot"]["median"] > 0 for row in first["rows"])
    assert all(row["reason"].startswith("left out") for row in second["rows"])
    text = report.page(report.read(tmp_path))
    assert all(row["name"] in text for row in first["rows"])
    assert "Quick run" in text
    assert "vs best PyG" in capsys.readouterr().out


@pytest.mark.slow
def test_threads_benchmark_times_both_numbers_of_threads(tmp_path, capsys):
    before = torch.get_num_threads()
    path = tmp_path / "threads.json"
    threads.main(["--quick", "--batches", "1", "--out", str(path)])
    assert torch.get_num_threads() == before
    rows = report.read(tmp_path)[0]["rows"]
    assert {row["name"] for row in rows} >= {contestants.OURS, contestants.FOLDED}
    assert all(row["hot"][n]["median"] > 0 for row in rows for n in ("1", "2"))
    assert "times as fast" in capsys.readouterr().out


def test_backbones_benchmark_counts_parameters_and_operations(tmp_path, capsys):
    names = ["lcnet_050", "resnet18"]
    small = ["--quick", "--image-size", "64", "--hidden-channels", "8", "--budget", "0.01"]
    threads_before = torch.get_num_threads()
    backbones.main([*small, "--backbones", *names, "--out", str(tmp_path / "backbones.json")])
    torch.set_num_threads(threads_before)
    (found,) = report.read(tmp_path)
    assert [row["name"] for row in found["rows"]] == names
    for row in found["rows"]:
        installed = find_spec("openvino") is not None
        assert ("OpenVINO" in row["time"], "reason" in row) == (installed, not installed)
        generator = HeatmapGenerator(backbone=row["name"])
        assert row["parameters"] == sum(p.numel() for p in generator.parameters())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            generator(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        assert row["macs"]["detector"] == counter.get_total_flops() // 2 < row["macs"]["whole"]
        assert min(row["time"][form]["median"] for form in ("detector", "whole")) > 0
    text = report.page([found])
    assert "lcnet_050 | 64 | 0.31 |" in text
    assert "lcnet_050" in capsys.readouterr().out


def test_backbones_benchmark_without_openvino(monkeypatch):
    """The times of OpenVINO are left empty, and the reason is kept."""
    torch.manual_seed(0)
    pipeline, images = parts.Pipeline("lcnet_050", 8).eval(), torch.zeros(2, 3, 64, 64)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(backbones, "to_onnx", lambda *_: b"")
    row, calls = backbones.measure(pipeline, images)
    assert list(calls) == ["detector", "whole"]
    assert "pip install 'handgraph[openvino]'" in row["reason"]
    time = dict.fromkeys(("median", "q25", "q75"), 0.002)
    _, cells = backbones.table([row | {"time": {"detector": time, "whole": time}}])
    assert cells[-4:] == ["2", "2-2", "-", "-"]


def test_timed_pipelines_compute_the_same():
    torch.manual_seed(0)
    pipeline, images = parts.Pipeline("lcnet_050", 8), torch.randint(256, (2, 3, 64, 64))
    images = images.byte()
    pipeline(images)
    expected = pipeline.eval()(images)
    for timed in (backbones.for_inference(pipeline), backbones.in_openvino(pipeline, images)):
        if not isinstance(timed, contestants.Unavailable):
            assert_close(timed(images), expected, atol=1e-4, rtol=1e-3)


def test_encoders_benchmark_scores_each_kind(tmp_path, capsys):
    threads_before = torch.get_num_threads()
    small = ["--quick", "--image-size", "32", "--hidden-channels", "8"]
    encoders.main([*small, "--out", str(tmp_path / "encoders.json")])
    torch.set_num_threads(threads_before)
    (found,) = report.read(tmp_path)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["Table 1", "shared trunk", "sampled", "no features"]
    assert rows["sampled"]["parameters"] == 65 * (2 + 3)
    assert rows["Table 1"]["parameters"] > rows["shared trunk"]["parameters"] > 0
    assert all(0 < mm < 1000 for row in rows.values() for seed in row["mm"] for mm in seed)
    assert "severe" in capsys.readouterr().out
    assert "shared trunk | " in report.page([found])


def test_errors_of_encoders_are_millimetres_of_visible_joints():
    hands = SyntheticHands(40, seed=3, image_size=64, progress=False).tensors
    hands |= {"features": torch.zeros(40, 1, 16, 16)}
    uv = normalize_uv(hands["uv_true"], 64)
    truth = torch.cat([uv, hands["d"].unsqueeze(-1)], dim=-1)
    assert max(encoders.errors(lambda _: (truth, None), hands)) < 1e-2
    deeper = truth.clone()
    deeper[..., 2] += 0.1
    step = 100 * hands["s"].reshape(-1, 1) * (hands["xyz"] / hands["xyz"][..., 2:]).norm(dim=-1)
    expected = step.expand_as(hands["visible"])[hands["visible"]].mean().item()
    assert encoders.errors(lambda _: (deeper, None), hands)[0] == pytest.approx(expected, rel=1e-3)


def test_versions_benchmark_times_both_checkouts(tmp_path, capsys):
    path = tmp_path / "versions.json"
    short = ["--cases", "forward", "folded", "--batches", "2", "--rounds", "3", "--block", "0"]
    versions.main(["--other", str(ROOT), *short, "--out", str(path)])
    (found,) = report.read(tmp_path)
    kinds = [(row["case"], row["engine"]) for row in found["rows"]]
    names = [*(["numba"] if find_spec("numba") else []), "reference"]
    assert kinds == [
        *(("forward", name) for name in [*names, "readable"]),
        *(("folded", name) for name in names),
    ]
    for row in found["rows"]:
        assert row["this"]["rounds"] == row["other"]["rounds"] == 3
        assert min(row["this"]["median"], row["other"]["median"], row["times_faster"]) > 0
    assert found["this"] == found["other"]
    assert "speed-up" in capsys.readouterr().out
    assert "| forward | 2 | reference |" in report.page([found])


def test_ratios_of_versions_are_paired():
    times = {("this", "numba"): [1.0, 2.0, 4.0], ("other", "numba"): [3.0, 4.0, 4.0]}
    row = versions._row({**times, ("this", "readable"): [5.0, 6.0]}, "numba")
    assert (row["this"]["median"], row["other"]["median"], row["times_faster"]) == (2.0, 4.0, 2.0)
    assert set(versions._row({("this", "readable"): [5.0, 6.0]}, "readable")) == {"this"}


def test_a_worker_that_stops_is_reported(tmp_path):
    (tmp_path / "handgraph.py").write_text("raise SystemExit('no such version')")
    worker = versions.Worker(tmp_path)
    with pytest.raises(RuntimeError, match="has stopped"):
        worker.engines()
    worker.close()


def test_committed_page_is_that_of_the_committed_results():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report.page(report.read(ROOT / "benchmarks" / "results"))
