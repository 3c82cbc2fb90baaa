from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import handgraph
from handgraph import Skeleton, metrics
from handgraph.metrics import (
    auc,
    joint_auc,
    joint_errors,
    mpjpe,
    pck_curve,
    per_occlusion,
    thresholds,
)

MetricCollection = pytest.importorskip("torchmetrics").MetricCollection

GRID = thresholds(0.04, 9, 0.01)
NAMES = ["MPJPE", "OcclusionAUC", "PCK", "PCKAUC"]
CASES = [(name, average) for name in NAMES for average in ("pooled", "joint")]
TOY = Skeleton("toy", ["a", "b"], [("a", "b")])


def draw(num_images=30, seed=0):
    rng = torch.Generator().manual_seed(seed)
    target = 0.1 * torch.randn(num_images, 21, 3, generator=rng)
    pred = target + 0.02 * torch.randn(num_images, 21, 3, generator=rng)
    shown = torch.rand(num_images, 1, generator=rng)
    return pred, target, torch.rand(num_images, 21, generator=rng) < shown


def make(name, average="pooled", **kwargs):
    grid = () if name == "MPJPE" else (GRID,)
    return getattr(metrics, name)(*grid, average=average, **kwargs)


def by_function(name, average, pred, target, visible):
    errors = joint_errors(pred, target)
    curve = pck_curve(errors, GRID, visible, average=average)
    table = per_occlusion(joint_auc(errors, GRID, visible), visible, average=average)
    table["relative"] = table["severe"] / table["small"]
    return {
        "MPJPE": mpjpe(pred, target, visible, average=average),
        "PCK": curve,
        "PCKAUC": auc(curve, GRID),
        "OcclusionAUC": table,
    }[name]


@pytest.mark.parametrize(("name", "average"), CASES)
@pytest.mark.parametrize("batch", [30, 7, 1])
def test_module_equals_function(name, average, batch):
    data = draw()
    metric = make(name, average)
    for parts in zip(*(x.split(batch) for x in data), strict=True):
        metric.update(*parts)
    torch.testing.assert_close(metric.compute(), by_function(name, average, *data))


@pytest.mark.parametrize("name", ["MPJPE", "PCK", "PCKAUC"])
def test_without_visible_all_joints_count(name):
    pred, target, visible = draw()
    metric = make(name)
    metric.update(pred, target)
    expected = by_function(name, "pooled", pred, target, torch.ones_like(visible))
    torch.testing.assert_close(metric.compute(), expected)


@pytest.mark.parametrize(("name", "average"), CASES)
def test_summed_states_equal_one_metric_on_all_data(name, average):
    data = draw()
    halves = [make(name, average), make(name, average)]
    halves[0].update(*(x[:8] for x in data))
    halves[1].update(*(x[8:] for x in data))
    joined, whole = make(name, average), make(name, average)
    whole.update(*data)
    assert set(whole.metric_state) == set(joined.metric_state)
    for state, value in whole.metric_state.items():
        reduce = whole._reductions[state]
        once = state == "settings"
        assert reduce(torch.stack([value, value])).equal(value if once else 2 * value)
        setattr(joined, state, reduce(torch.stack([half.metric_state[state] for half in halves])))
    joined._update_count = 1
    torch.testing.assert_close(joined.compute(), whole.compute())


@pytest.mark.parametrize("name", NAMES)
def test_forward_gives_the_batch_and_keeps_the_sum(name):
    first, second = draw(seed=1), draw(seed=2)
    metric = make(name)
    for data in (first, second):
        torch.testing.assert_close(metric(*data), by_function(name, "pooled", *data))
    both = [torch.cat(x) for x in zip(first, second, strict=True)]
    torch.testing.assert_close(metric.compute(), by_function(name, "pooled", *both))


@pytest.mark.parametrize("name", NAMES)
def test_reset_copy_and_pickle(name):
    data = draw()
    metric = make(name)
    metric.update(*draw(seed=3))
    metric.reset()
    metric.update(*data)
    expected = by_function(name, "pooled", *data)
    for twin in (metric, copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        torch.testing.assert_close(twin.compute(), expected)
    assert not metric.state_dict()  # nothing is added to checkpoints


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("PCK", [{}, {"thresholds": 2 * GRID}, {"nan": "miss"}]),
        ("PCKAUC", [{}, {"thresholds": 2 * GRID}, {"nan": "miss"}]),
        ("OcclusionAUC", [{}, {"thresholds": 2 * GRID}, {"min_visible": 3}, {"nan": "miss"}]),
    ],
)
def test_a_collection_keeps_other_settings_apart(name, settings):
    pred, target, visible = draw()
    alone = {str(i): getattr(metrics, name)(**kwargs) for i, kwargs in enumerate(settings)}
    together = MetricCollection(copy.deepcopy(alone), compute_groups=True)
    for batch in [(target, target, torch.ones_like(visible)), (pred, target, visible)]:
        together.update(*batch)  # the first batch is perfect, so that all settings agree
        for metric in alone.values():
            metric.update(*batch)
    assert len(together.compute_groups) == len(settings)
    for key, metric in alone.items():
        torch.testing.assert_close(together[key].compute(), metric.compute(), equal_nan=True)


def test_a_collection_counts_once_for_the_same_settings():
    together = MetricCollection({name: make(name) for name in ("PCK", "PCKAUC")})
    together.update(*draw())
    assert len(together.compute_groups) == 1


@pytest.mark.parametrize("other", [{"thresholds": 2 * GRID}, {"nan": "miss"}, {"min_visible": 3}])
def test_metrics_of_other_settings_do_not_add_up(other):
    metric, others = (
        metrics.OcclusionAUC(GRID),
        metrics.OcclusionAUC(**{"thresholds": GRID} | other),
    )
    both = torch.stack([metric.settings, others.settings])
    with pytest.raises(ValueError, match="expected metrics with the same settings, got"):
        metric._reductions["settings"](both)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_low_precision_does_not_round_its_metrics(name, dtype):
    data = draw()
    casts = [lambda model: model.to(dtype)]
    casts += [lambda model: model.half() if dtype == torch.float16 else model.bfloat16()]
    for cast in casts:
        metric = cast(torch.nn.ModuleList([make(name)]))[0]
        metric.update(*data)
        torch.testing.assert_close(metric.compute(), by_function(name, "pooled", *data))


@pytest.mark.parametrize("name", NAMES)
def test_one_image_without_batch_dimension(name):
    pred, target, visible = (x[0] for x in draw())
    visible = torch.ones_like(visible)
    metric = make(name)
    metric.update(pred, target, visible)
    expected = by_function(name, "pooled", pred[None], target[None], visible[None])
    torch.testing.assert_close(metric.compute(), expected, equal_nan=True)


def test_occlusion_limit():
    pred, target, visible = draw()
    metric = metrics.OcclusionAUC(GRID, min_visible=4)
    metric.update(pred, target, visible)
    areas = joint_auc(joint_errors(pred, target), GRID, visible)
    expected = per_occlusion(areas, visible, min_visible=4)
    for group in expected:
        torch.testing.assert_close(metric.compute()[group], expected[group])


def test_a_group_without_images_is_nan():
    pred, target, visible = draw()
    metric = make("OcclusionAUC")
    metric.update(pred, target, torch.ones_like(visible))
    table = metric.compute()
    assert table["severe"].isnan()
    assert table["relative"].isnan()
    assert table["small"] == table["all"]


@pytest.mark.parametrize("name", ["PCK", "PCKAUC"])
def test_nan_predictions_raise_or_miss(name):
    pred, target, _ = draw()
    pred[:10] = torch.nan
    with pytest.raises(ValueError, match="NaN at 210 of 630 visible joints"):
        make(name).update(pred, target)
    metric = make(name, nan="miss")
    metric.update(pred, target)
    good = by_function(name, "pooled", pred[10:], target[10:], torch.ones(20, 21).bool())
    torch.testing.assert_close(metric.compute(), good * 2 / 3)


def test_nan_predictions_make_the_mean_error_nan():
    pred, target, visible = draw()
    pred[0, visible[0].nonzero()[0]] = torch.nan
    metric = make("MPJPE")
    metric.update(pred, target, visible)
    assert metric.compute().isnan()


@pytest.mark.parametrize("name", NAMES)
def test_hidden_nan_has_no_influence(name):
    pred, target, visible = draw()
    metric = make(name)
    shown = visible.unsqueeze(-1)
    metric.update(
        torch.where(shown, pred, torch.nan), torch.where(shown, target, torch.nan), visible
    )
    torch.testing.assert_close(metric.compute(), by_function(name, "pooled", pred, target, visible))


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_gradient_of_a_batch_is_that_of_the_function(average):
    pred, target, visible = draw()
    target = torch.where(visible.unsqueeze(-1), target, torch.nan)
    losses = [make("MPJPE", average), lambda *data: mpjpe(*data, average=average)]
    pred.requires_grad_()
    one, other = (torch.autograd.grad(loss(pred, target, visible), pred)[0] for loss in losses)
    torch.testing.assert_close(one, other)
    assert not one[~visible].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"nan": "miss"}])
def test_unknown_targets_raise(name, options):
    pred, target, visible = draw()
    target[visible] = torch.nan
    metric = make(name, **({} if name == "MPJPE" else options))
    with pytest.raises(ValueError, match="finite targets at visible joints"):
        metric.update(pred, target, visible)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_update_arguments(name):
    visible = torch.ones(2, 21, dtype=torch.bool)
    metric = make(name)
    with pytest.raises(ValueError, match=r"21 joints of skeleton .*, got 2"):
        metric.update(torch.zeros(2, 2, 3), torch.zeros(2, 2, 3), visible[:, :2])
    with pytest.raises(ValueError, match=r"\[2, 21, 3\]"):
        metric.update(torch.zeros(2, 21, 3), torch.zeros(1, 21, 3), visible)
    with pytest.raises(ValueError, match=r"\[2, 21\], got \[1, 21\]"):
        metric.update(torch.zeros(2, 21, 3), torch.zeros(2, 21, 3), visible[:1])


@pytest.mark.parametrize("name", NAMES)
def test_other_skeletons(name):
    kwargs = {"min_visible": 2} if name == "OcclusionAUC" else {}
    metric = make(name, skeleton=TOY, **kwargs)
    metric.update(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3), torch.ones(4, 2).bool())
    value = metric.compute()
    if name == "OcclusionAUC":
        value = value["small"]
    assert (value == (0 if name == "MPJPE" else 1)).all()


def test_wrong_constructor_arguments():
    for name in NAMES:
        with pytest.raises(ValueError, match="average to be one of pooled, joint, got 'macro'"):
            make(name, "macro")
    for name in ("PCK", "PCKAUC", "OcclusionAUC"):
        with pytest.raises(ValueError, match="nan to be one of raise, miss, got 'drop'"):
            make(name, nan="drop")
        with pytest.raises(ValueError, match="increasing thresholds"):
            getattr(metrics, name)(GRID.flip(0))
    with pytest.raises(ValueError, match="min_visible to be from 1 to 21, got 22"):
        metrics.OcclusionAUC(min_visible=22)
    with pytest.raises(ValueError, match="defines the occlusion groups, got None"):
        make("OcclusionAUC").update(torch.zeros(1, 21, 3), torch.zeros(1, 21, 3))


@pytest.mark.slow
def test_two_processes_agree(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    worker = importlib.import_module("gloo_worker")
    torch.multiprocessing.spawn(worker.score, args=(2, str(tmp_path)), nprocs=2)
    expected = []
    for metric in worker.make_metrics():
        metric.update(*worker.make_data())
        expected.append(metric.compute())
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)


def test_the_functions_do_without_torchmetrics(monkeypatch):
    monkeypatch.setattr(handgraph, "metrics", metrics)  # restored at the end
    for module in [name for name in sys.modules if name.startswith("handgraph.metrics")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    fresh = importlib.import_module("handgraph.metrics")
    assert fresh is not metrics
    assert fresh.mpjpe(torch.ones(1, 3), torch.zeros(1, 3)).item() == pytest.approx(3**0.5)


@pytest.mark.slow
def test_importing_the_metrics_does_not_import_torchmetrics():
    code = (
        "import sys, handgraph.metrics as m; loaded = 'torchmetrics' in sys.modules; "
        "m.PCK; sys.exit(loaded or 'torchmetrics' not in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_without_torchmetrics_the_error_names_the_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "handgraph.metrics.modules", raising=False)
    with pytest.raises(ImportError, match=r"handgraph\[train\]"):
        getattr(metrics, name)


def test_unknown_attribute():
    with pytest.raises(AttributeError, match=r"'handgraph\.metrics' has no attribute 'PKC'"):
        _ = metrics.PKC


def test_all_names_exist_and_the_classes_are_not_among_them():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
    assert not set(metrics.__all__) & set(NAMES)


@pytest.mark.parametrize("name", ["MPJPE", "PCK", "PCKAUC", "OcclusionAUC"])
def test_values_are_drawn(name):
    pytest.importorskip("matplotlib")
    metric = getattr(metrics, name)()
    metric.update(torch.full((2, 21, 3), 0.02), torch.zeros(2, 21, 3), torch.ones(2, 21).bool())
    _, ax = metric.plot()
    one = ax.lines[0].get_ydata() if name == "PCK" else None
    assert ax.lines
    assert one is None or one.tolist() == metric.compute().tolist()
    metric.plot([metric.compute(), metric.compute()])
