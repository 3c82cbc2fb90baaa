from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch
from occlusion_benchmark import best_rates

from handgraph import HAND
from handgraph.datasets import SyntheticHands
from handgraph.metrics import joint_auc, thresholds, visible_mean
from occlusion import masked, report, running, table, training
from occlusion.methods import METHODS
from occlusion.settings import (
    ALL_INPUTS,
    CHOSEN_RATES,
    FULL,
    MAIN_INPUTS,
    PRESETS,
    RATE_OF,
    Job,
    Source,
    table_jobs,
    tuning_jobs,
)
from shared.lifters import PSJNetCore, count, errors, target, to_pixels

JOB = Job("psjnet", MAIN_INPUTS, "seen", 0, 0, 1e-2, 1, 300, 200, 3000, 64)


@pytest.fixture(scope="module")
def hands():
    return SyntheticHands(300, seed=5, progress=False).tensors


@pytest.mark.parametrize("name", METHODS)
def test_every_method_maps_joints_to_poses(name):
    method = METHODS[name]
    net = method.build(4 + (method.hide != "nothing"))
    pose = running.predict(net, torch.rand(2, 21, 4), torch.ones(2, 21) > 0, method.hide)
    assert pose.shape == (2, 21, 3)


def test_matched_controls_have_the_size_of_psjnet():
    psjnet = count(METHODS["psjnet"].build(3))
    for name in ("ensemble", "unet"):
        assert abs(count(METHODS[name].build(3)) / psjnet - 1) < 0.1


@pytest.mark.parametrize("name", [row.method for row in FULL if row.inputs == ALL_INPUTS])
def test_methods_with_all_inputs_have_the_size_of_psjnet(name):
    size = count(METHODS[name].build(4)) / count(METHODS["psjnet"].build(4))
    if name not in ("cai", "hopenet"):
        assert abs(size - 1) < 0.1


def test_step_3_gives_the_branches_no_gradient(hands):
    net = METHODS["psjnet"].build(3)
    x = training.assemble(hands, ("uv", "cue"), clean=False)[:8]
    wanted = to_pixels(target(hands))[:8]
    branches, merge, everything = training.psjnet_stages(net)
    batch = (x, wanted, hands["visible"][:8], torch.Generator())
    merge.loss(*batch).backward()
    assert all(p.grad is None for p in net.branches.parameters())
    assert all(p.grad is not None for p in net.merge.parameters())
    net.zero_grad()
    branches.loss(*batch).backward()
    assert all(p.grad is None for p in net.merge.parameters())
    assert len(everything.groups[0]) == len(list(net.parameters()))


def test_stages_share_out_all_epochs():
    for name, method in METHODS.items():
        net = method.build(4)
        stages = training.stages(net)
        shares = [stage.share for stage in stages]
        assert sum(shares) == pytest.approx(0.8 if name == "mean" else 1.0), name
        trained = {id(p) for stage in stages for group in stage.groups for p in group}
        assert trained == {id(p) for p in net.parameters()}, name


def test_clean_inputs_differ_at_hidden_joints_only(hands):
    dirty = training.assemble(hands, ("uv", "cue"), clean=False)
    clean = training.assemble(hands, ("uv", "cue"), clean=True)
    same = (dirty == clean).all(dim=-1)
    assert same[hands["visible"]].all()
    assert not same[~hands["visible"]].any()


def test_simulated_occlusion_changes_only_hidden_joints(hands):
    clean = training.assemble(hands, ("uv", "cue", "confidence"), clean=True)
    names = ("uv", "cue", "confidence")
    for method in (METHODS["learned"], METHODS["learned_crude"]):
        source = training.epochs(method, hands, names, "heatmap", clean=True)
        x, visible = source(torch.Generator().manual_seed(0))
        assert torch.equal(x[visible], clean[visible])
        assert (x[~visible] != clean[~visible]).all()
        again, _ = source(torch.Generator().manual_seed(1))
        assert not torch.equal(again, x)


def test_occluded_training_images_have_no_simulated_occlusion(hands):
    names, method = ("uv", "cue", "confidence"), METHODS["learned"]
    x, visible = training.epochs(method, hands, names, "heatmap", clean=False)(torch.Generator())
    assert torch.equal(x, training.assemble(hands, names, clean=False))
    assert torch.equal(visible, hands["visible"])


def test_a_regression_detector_moves_visible_joints_too(hands):
    clean = training.assemble(hands, ("uv", "cue", "confidence"), clean=True)
    names, method = ("uv", "cue", "confidence"), METHODS["simulate"]
    source = training.epochs(method, hands, names, "regression", clean=True)
    x, visible = source(torch.Generator().manual_seed(0))
    some_hidden = ~visible.all(dim=1)
    assert (x[..., :2] != clean[..., :2])[some_hidden].all()
    assert torch.equal(x[..., 3], clean[..., 3])  # scores


def test_detectors_are_chosen_by_name(tmp_path):
    heatmap, regression = (Source(50, 5, d).load(tmp_path) for d in ("heatmap", "regression"))
    assert (regression["confidence"] == 0.5).all()
    assert heatmap["confidence"].unique().numel() > 1
    assert torch.equal(heatmap["xyz"], regression["xyz"])


@pytest.mark.parametrize("law", masked.LAWS)
def test_laws_keep_what_they_should_and_leave_no_joint_without_a_draw(law, hands):
    score, visible = hands["confidence"].squeeze(-1), hands["visible"]
    mask = masked.LAWS[law].train(score, visible, torch.Generator().manual_seed(0))
    assert mask.shape == (300, 21)
    assert torch.equal(masked.LAWS["truth"].train(score, visible, torch.Generator()), visible)
    node_mask, speaks = masked.LAWS[law].test(score, visible)
    if law == "truth":
        assert torch.equal(node_mask[0], visible)
    if law == "nothing":
        assert node_mask.all()
    assert node_mask.shape == speaks.shape
    assert speaks.any(dim=0).all()
    assert not (speaks & (node_mask == 0)).any()


def test_loss_of_a_masked_net_counts_kept_joints_only(hands):
    torch.manual_seed(0)
    net = METHODS["mask_dropout"].build(4)
    x = training.assemble(hands, ("uv", "cue", "confidence"), clean=False)
    visible, wanted = hands["visible"], to_pixels(target(hands))

    def rng():
        return torch.Generator().manual_seed(0)

    kept = net.law.train(x[..., -1], visible, rng()).unsqueeze(-1)
    assert not kept.all()
    loss, others, same = (
        net.loss(x, changed, visible, rng()) for changed in (wanted, wanted + kept, wanted + ~kept)
    )
    assert loss.isfinite()
    assert loss != others
    assert loss == same


def test_only_the_net_that_learns_visibility_learns_from_its_labels(hands):
    x = training.assemble(hands, ("uv", "cue", "confidence"), clean=False)
    for name, learns in (("learned", True), ("mask_score", False)):
        torch.manual_seed(0)
        net = METHODS[name].build(4)
        losses = [
            net.loss(x, to_pixels(target(hands)), v, torch.Generator().manual_seed(0))
            for v in (hands["visible"], ~hands["visible"])
        ]
        assert bool(losses[0] != losses[1]) == learns


def test_every_row_of_the_table_has_a_rate():
    for preset in PRESETS.values():
        assert table_jobs(preset, CHOSEN_RATES)
    tuned = {job.method for job in tuning_jobs(PRESETS["full"])}
    assert tuned.isdisjoint(RATE_OF)
    assert tuned | set(RATE_OF) == {row.method for row in FULL}


def test_true_poses_have_no_error(hands):
    off = errors(target(hands), hands)
    assert off.max() < 1e-5  # metres


def test_hiding_zeroes_and_flags(hands):
    x, visible = torch.ones(300, 21, 3), hands["visible"]
    hidden = training.hide(x, visible, "the hidden")
    assert torch.equal(hidden, visible.unsqueeze(-1).expand(300, 21, 4).float())
    assert training.hide(x, visible, "nothing") is x
    drawn = training.hide(x, visible, "at random", torch.Generator().manual_seed(0))[..., 3]
    assert drawn[:, HAND.index("wrist")].all()
    assert drawn.mean().item() == pytest.approx(1 - training.DROPOUT * 20 / 21, abs=0.02)


def test_measures_by_hand():
    visible = torch.ones(2, 21, dtype=torch.bool)
    visible[1, 8:] = False  # a severe image
    errors = torch.zeros(2, 21)
    errors[1] = 1.0  # metres: a miss
    errors[1, 8:] = 0.04
    row = table.measures(errors, torch.zeros(2, 21), visible)
    assert row == pytest.approx(
        {"all": 100 * 21 / 29, "small": 100, "severe": 0, "rel": 0, "gap": 100, "hidden": 40}
    )


def test_best_rate_is_chosen_for_each_method_and_regime():
    scores = [
        {"method": m, "regime": r, "rate": rate, "auc": auc}
        for m, r, rate, auc in [("a", "s", 1, 5.0), ("a", "s", 2, 7.0), ("b", "s", 1, 3.0)]
    ]
    assert best_rates(scores) == {("a", "s"): 2, ("b", "s"): 1}


def test_results_keep_the_names_of_their_files(tmp_path):
    assert JOB.path(tmp_path).name == "psjnet-seen-0-0-c44da77c5b5d.pt"


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
    return {(row.method, regime) for row in preset.rows for regime in ("seen", "unseen")}


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
def test_an_error_in_one_job_stops_all_jobs(tmp_path):
    jobs = [replace(JOB, method="nope"), *(replace(JOB, seed=seed) for seed in range(6))]
    with pytest.raises(KeyError, match="nope"):
        running.run_all(jobs, tmp_path, 1, "stopped")
    assert active_children() == []
    assert not all(job.path(tmp_path).exists() for job in jobs[1:])


@pytest.mark.slow
def test_graph_merger_trains_stably_over_5_seeds(tmp_path):
    # the optimiser, rate and batch of the benchmark; AUC x 100 over validation images
    scores = []
    for seed in range(5):
        job = replace(
            JOB, seed=seed, epochs=30, num_train=4000, num_test=1000, test_seed=2000, batch_size=256
        )
        visible = job.test_hands().load(tmp_path)["visible"]
        errors = running.train_and_score(job, tmp_path)["errors"]
        scores.append(100 * visible_mean(joint_auc(errors, thresholds()), visible).item())
    assert min(scores) > 58
    assert max(scores) - min(scores) < 3


def test_psjnet_core_is_the_composition():
    net = METHODS["psjnet"].build(2)
    assert isinstance(net, PSJNetCore)
    x = torch.rand(3, 21, 2)
    assert torch.equal(net(x), net.merge(net.branches(net.split(x))))


def test_bands_span_the_nets_of_a_method():
    errors = [torch.full((4, 21), error) for error in (0.0105, 0.0205, 0.0305)]
    visible, images = torch.ones(4, 21) > 0, torch.tensor([True, False, True, True])
    mean, low, high = report.band(visible, [{"errors": e} for e in errors], images)
    assert mean[[10, 11, 21, 31]].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert (low[30], low[31], high[10], high[11]) == (0, 1, 0, 1)


def test_pictures_show_the_nets_of_their_inputs():
    other = replace(JOB, inputs=ALL_INPUTS)
    learned = replace(other, method="learned")
    results = {job: {"seed": job.seed} for job in (other, replace(JOB, seed=1), JOB, learned)}
    assert report.nets_shown(results, "seen") == {
        METHODS["psjnet"].title: [{"seed": 1}, {"seed": 0}],
        METHODS["learned"].title: [{"seed": 0}],
    }
    assert report.nets_shown(results, "unseen") == {}
