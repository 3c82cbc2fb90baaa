import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.metrics import joint_auc, thresholds, visible_mean

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

from occlusion_benchmark import best_rates  # noqa: E402

from occlusion import inputs, running, table, training  # noqa: E402
from occlusion.methods import METHODS, PSJNetCore, count  # noqa: E402
from occlusion.settings import MAIN_INPUTS, PRESETS, Job, table_jobs, tuning_jobs  # noqa: E402

JOB = Job("psjnet", MAIN_INPUTS, "seen", 0, 0, 1e-2, 1, 300, 200, 3000, 64)


@pytest.fixture(scope="module")
def hands():
    return SyntheticHands(300, seed=5, progress=False).tensors


@pytest.mark.parametrize("name", METHODS)
def test_every_method_maps_joints_to_poses(name):
    net = METHODS[name].build(4)
    assert net(torch.rand(2, 21, 4)).shape == (2, 21, 3)


def test_matched_controls_have_the_size_of_psjnet():
    psjnet = count(METHODS["psjnet"].build(3))
    for name in ("ensemble", "unet"):
        assert abs(count(METHODS[name].build(3)) / psjnet - 1) < 0.1


def test_step_3_gives_the_branches_no_gradient(hands):
    net = METHODS["psjnet"].build(3)
    x = inputs.assemble(hands, ("uv", "cue"), clean=False)[:8]
    target = inputs.to_pixels(inputs.targets(hands))[:8]
    branches, merge, everything = training.psjnet_stages(net)
    merge.loss(x, target).backward()
    assert all(p.grad is None for p in net.branches.parameters())
    assert all(p.grad is not None for p in net.merge.parameters())
    net.zero_grad()
    branches.loss(x, target).backward()
    assert all(p.grad is None for p in net.merge.parameters())
    assert len(everything.parameters) == len(list(net.parameters()))


def test_stages_share_out_all_epochs():
    for name, method in METHODS.items():
        shares = [stage.share for stage in training.stages(method.build(3))]
        assert sum(shares) == pytest.approx(0.8 if name == "mean" else 1.0), name


def test_clean_inputs_differ_at_hidden_joints_only(hands):
    dirty = inputs.assemble(hands, ("uv", "cue"), clean=False)
    clean = inputs.assemble(hands, ("uv", "cue"), clean=True)
    same = (dirty == clean).all(dim=-1)
    assert same[hands["visible"]].all()
    assert not same[~hands["visible"]].any()


def test_true_poses_have_no_error(hands):
    errors = inputs.errors(inputs.targets(hands), hands)
    assert errors.max() < 1e-5  # metres


def test_hiding_zeroes_and_flags(hands):
    x, visible = torch.ones(300, 21, 3), hands["visible"]
    hidden = inputs.hide(x, visible, "the hidden")
    assert torch.equal(hidden, visible.unsqueeze(-1).expand(300, 21, 4).float())
    assert inputs.hide(x, visible, "nothing") is x
    drawn = inputs.hide(x, visible, "at random", torch.Generator().manual_seed(0))[..., 3]
    assert drawn[:, HAND.index("wrist")].all()
    assert drawn.mean().item() == pytest.approx(1 - inputs.DROPOUT * 20 / 21, abs=0.02)


def test_measures_by_hand():
    visible = torch.ones(2, 21, dtype=torch.bool)
    visible[1, 8:] = False  # a severe image
    errors = torch.zeros(2, 21)
    errors[1] = 1.0  # metres: a miss
    row = table.measures(errors, torch.zeros(2, 21), visible)
    assert row == pytest.approx(
        {"all": 100 * 21 / 29, "small": 100, "severe": 0, "rel": 0, "gap": 100}
    )


def test_best_rate_is_chosen_for_each_method_and_regime():
    scores = [
        {"method": m, "regime": r, "rate": rate, "auc": auc}
        for m, r, rate, auc in [("a", "s", 1, 5.0), ("a", "s", 2, 7.0), ("b", "s", 1, 3.0)]
    ]
    assert best_rates(scores) == {("a", "s"): 2, ("b", "s"): 1}


def test_any_other_setting_is_another_file(tmp_path):
    paths = {JOB.path(tmp_path), replace(JOB, rate=2e-2).path(tmp_path)}
    assert len(paths) == 2
    assert replace(JOB).path(tmp_path) in paths


def test_validation_is_not_the_test_set():
    preset = PRESETS["full"]
    test = {job.test_seed for job in table_jobs(preset, dict.fromkeys(_keys(preset), 1.0))}
    validation = {job.test_seed for job in tuning_jobs(preset)}
    assert test.isdisjoint(validation)


def _keys(preset):
    return {(method, regime) for method, _ in preset.rows for regime in ("seen", "unseen")}


def test_same_job_same_numbers(tmp_path):
    first = running.train_and_score(JOB, tmp_path)
    again = running.train_and_score(JOB, tmp_path)
    assert torch.equal(first["errors"], again["errors"])


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(tmp_path):
    jobs = [replace(JOB, method="cai"), replace(JOB, method="cai", regime="unseen")]
    results = running.run_all(jobs, tmp_path, 2, "first")
    stamps = {job: job.path(tmp_path).stat().st_mtime_ns for job in jobs}
    jobs[1].path(tmp_path).unlink()
    again = running.run_all(jobs, tmp_path, 1, "again")
    assert jobs[0].path(tmp_path).stat().st_mtime_ns == stamps[jobs[0]]
    assert all(torch.equal(again[job]["errors"], results[job]["errors"]) for job in jobs)


@pytest.mark.slow
def test_graph_merger_trains_stably_over_5_seeds(tmp_path):
    # the optimiser, rate and batch of the benchmark; AUC x 100 over validation images
    scores = []
    for seed in range(5):
        job = replace(
            JOB, seed=seed, epochs=30, num_train=4000, num_test=1000, test_seed=2000, batch_size=256
        )
        visible = inputs.load(1000, 2000, tmp_path)["visible"]
        errors = running.train_and_score(job, tmp_path)["errors"]
        scores.append(100 * visible_mean(joint_auc(errors, thresholds()), visible).item())
    assert min(scores) > 58
    assert max(scores) - min(scores) < 3


def test_psjnet_core_is_the_composition():
    net = METHODS["psjnet"].build(2)
    assert isinstance(net, PSJNetCore)
    x = torch.rand(3, 21, 2)
    assert torch.equal(net(x), net.merge(net.branches(net.split(x))))
