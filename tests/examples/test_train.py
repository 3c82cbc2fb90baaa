import json
import os
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
from filelock import Timeout
from torch import nn

lightning_fabric = pytest.importorskip("lightning.fabric")

import evaluate  # noqa: E402
import train  # noqa: E402

from handgraph.datasets import SyntheticHands, write_rhd  # noqa: E402
from pipeline.cache import cache_folder  # noqa: E402
from pipeline.hands import batches  # noqa: E402
from pipeline.objectives import set_step  # noqa: E402
from pipeline.run import Run  # noqa: E402
from pipeline.scores import hits_2d  # noqa: E402
from pipeline.settings import Settings  # noqa: E402
from pipeline.store import finished, load_run, load_settings, load_weights, step_path  # noqa: E402
from shared.files import lock  # noqa: E402

SETTINGS = Settings(
    samples=12,
    image_size=32,
    backbone="hrnet_w18_small",
    encoder_channels=4,
    batch_size=4,
    iterations=(3, 3, 2, 2),
)
CPU = torch.device("cpu")


class TinyGenerator(nn.Module):
    feature_channels = 8

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 21, 1)

    def forward(self, images):
        features = self.norm(self.features(images.float() / 255))
        return self.head(features), features


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Use small nets, and hands that are simulated once."""
    monkeypatch.setattr("pipeline.methods.HeatmapGenerator", lambda *args: TinyGenerator())
    monkeypatch.setattr("pipeline.hands.SyntheticHands", cached_hands)


@cache
def cached_hands(number, *, seed, image_size):
    return SyntheticHands(number, seed=seed, image_size=image_size, progress=False)


def make_run(out, settings=SETTINGS, **options):
    args = train.parse(["--out", str(out), "--validate", "0", "--checkpoint-every", "2"])
    vars(args).update(options)
    out.mkdir(exist_ok=True)
    (out / "run.json").write_text(settings.to_json())
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1)
    return Run(fabric, settings, args)


def same_weights(first, second):
    pairs = zip(first.values(), second.values(), strict=True)
    return list(first) == list(second) and all(torch.equal(a, b) for a, b in pairs)


def test_a_run_leaves_weights_logs_and_scores(tmp_path):
    run = make_run(tmp_path, validate=5)
    run.run([1, 2, 3, 4])
    assert finished(tmp_path) == [1, 2, 3, 4]
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "resume.pt").exists()
    report = json.loads((tmp_path / "step4.json").read_text())
    assert report["iterations"] == 2
    assert set(report["held_out"]) == {
        *("pck_2d", "pixels_2d", "mm"),
        *(f"auc_{name}" for name in ("all", "small", "severe", "relative")),
    }
    assert "mm" not in json.loads((tmp_path / "step1.json").read_text())["held_out"]
    header, row = (tmp_path / "log2.csv").read_text().splitlines()
    assert header == "step,iteration,loss,pck_2d,rate,images_per_second"
    assert row.startswith("2,3,")
    settings, model = load_run(tmp_path)
    assert settings == SETTINGS
    assert same_weights(model.state_dict(), run.model.state_dict())
    assert not model.training


def test_steps_one_by_one_are_the_steps_in_a_row(tmp_path):
    make_run(tmp_path / "a").run([1, 2, 3, 4])
    for step in (1, 2, 3, 4):
        make_run(tmp_path / "b").run([step])
    weights = [load_weights(step_path(tmp_path / name, 4))["model"] for name in "ab"]
    assert same_weights(*weights)


def test_a_step_without_the_one_before_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="step 3 needs step 2 first"):
        make_run(tmp_path).run([3])


def test_freezing_of_whole_steps(tmp_path):
    make_run(tmp_path).run([1, 2, 3, 4])
    weights = [load_weights(step_path(tmp_path, n))["model"] for n in (1, 2, 3, 4)]
    generator = [{k: v for k, v in w.items() if k.startswith("generator.")} for w in weights]
    assert all(same_weights(g, generator[0]) for g in generator)
    assert any("running_mean" in name for name in generator[0])
    kept = ("lifter.branches", "lifter.encode.")
    branches = [{k: v for k, v in w.items() if k.startswith(kept)} for w in weights]
    assert same_weights(branches[1], branches[2])
    assert not same_weights(branches[2], branches[3])


@pytest.mark.parametrize("cached", [False, True])
def test_resumed_step_gives_the_same_weights_bit_for_bit(tmp_path, cached, monkeypatch):
    options = {"cache": tmp_path / "cache"} if cached else {}
    settings = replace(SETTINGS, iterations=(7, 1, 1, 1))
    make_run(tmp_path / "whole", settings, **options).run([1, 2, 3, 4])
    for step in (1, 2, 3, 4):
        run = make_run(tmp_path / "cut", settings, **options)
        with monkeypatch.context() as patch:
            patch.setattr(Run, "finish", interrupt)
            if step == 1:
                patch.setattr("pipeline.loop.hits_2d", after(5))
            with pytest.raises(KeyboardInterrupt):
                run.run([step])
        make_run(tmp_path / "cut", settings, **options).run([step])
    for step in (1, 2, 3, 4):
        weights = [load_weights(step_path(tmp_path / n, step))["model"] for n in ("whole", "cut")]
        assert same_weights(*weights), step


def interrupt(*args):
    raise KeyboardInterrupt


def after(count):
    calls = []

    def counted(*args):
        calls.append(1)
        return interrupt() if len(calls) > count else hits_2d(*args)

    return counted


def test_checkpoints_are_plain_tensors_and_numbers(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    monkeypatch.setattr(Run, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run([1])
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert state["iteration"] == 2
    assert {"model", "optimizer", "schedule", "step", "seconds", "rows"} <= set(state)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    hands = list(run.read([run.order(1).batch(i) for i in range(3)]))
    hands[2]["uv_true"][0, 0, 0] = torch.nan
    checkpoint = tmp_path / "resume.pt"
    monkeypatch.setattr(Run, "batches", lambda *args: iter(hands))
    some = str(run.order(1).batch(2)).replace("[", r"\[")
    expected = (
        rf"step 1, iteration 2, hands {some}.*is nan; the gradient of generator.features.weight"
    )
    with pytest.raises(FloatingPointError, match=expected):
        run.run([1])
    assert load_weights(checkpoint)["iteration"] == 2
    assert finished(tmp_path) == []
    for name, value in run.model.named_parameters():
        assert torch.equal(value, load_weights(checkpoint)["model"][name])


def test_the_parameter_that_is_not_finite_is_named(tmp_path):
    run = make_run(tmp_path)
    with torch.no_grad():
        run.model.generator.head.bias[3] = torch.inf
    with pytest.raises(FloatingPointError, match="generator.head.bias is not finite"):
        run.run([1])
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_cache_holds_the_output_of_the_generator(tmp_path):
    run = make_run(tmp_path, cache=tmp_path / "cache")
    set_step(run.model, run.steps[2])
    todo = [run.order(2).batch(i) for i in (1, 2)]
    with torch.no_grad():
        plain = list(batches(run.hands, todo, CPU))
        cached = list(run.cached(todo, frozen=True))
        for hands, kept in zip(plain, cached, strict=True):
            found = run.model.detect(hands["image"])
            assert torch.equal(kept["uv"], found.uv)
            assert torch.equal(kept["d"], hands["d"])
            torch.testing.assert_close(kept["features"], found.features, rtol=5e-4, atol=1e-6)
            poses = [run.model.lifter.eval()(found._replace(features=f))[0] for f in
                     (found.features, kept["features"])]  # fmt: skip
            torch.testing.assert_close(*poses, rtol=0, atol=2e-3)
    assert "image" not in cached[0]


def test_filling_a_cache_leaves_the_modes_alone(tmp_path):
    run = make_run(tmp_path, cache=tmp_path / "cache")
    set_step(run.model, run.steps[2])
    modes = [module.training for module in run.model.modules()]
    next(run.cached([run.order(2).batch(0)], frozen=True))
    assert [module.training for module in run.model.modules()] == modes
    assert any(modes)


def test_cached_images_train_to_the_same_weights(tmp_path):
    for name, options in {"a": {}, "b": {"cache": tmp_path / "cache"}}.items():
        make_run(tmp_path / name, **options).run([1])
    assert same_weights(*(load_weights(step_path(tmp_path / n, 1))["model"] for n in "ab"))


def test_a_cache_belongs_to_hands_and_weights(tmp_path):
    model = make_run(tmp_path).model
    folder = cache_folder(tmp_path, SETTINGS, model.generator)
    assert folder == cache_folder(tmp_path, replace(SETTINGS, seed=9), model.generator)
    assert folder != cache_folder(tmp_path, replace(SETTINGS, samples=13), model.generator)
    model.generator.norm.running_mean += 1
    assert folder != cache_folder(tmp_path, SETTINGS, model.generator)


def test_a_cache_that_is_too_large_is_refused(tmp_path):
    run = make_run(tmp_path, cache=tmp_path / "cache", cache_limit=1e-6)
    with pytest.raises(ValueError, match="go without --cache"):
        run.run([1])
    assert not list((tmp_path / "cache").rglob("*.npy*"))


def command(monkeypatch, out, *more):
    numbers = ("--samples", "12", "--image-size", "32", "--batch-size", "4", "--validate", "0")
    size = ("--encoder-channels", "4", "--backbone", "hrnet_w18_small", "--device", "cpu")
    steps = ("--iterations", "3", "3", "2", "2")
    monkeypatch.setattr(
        sys, "argv", ["train.py", "--out", str(out), *numbers, *size, *steps, *more]
    )
    train.main()


@pytest.mark.parametrize(
    ("given", "width"),
    [
        ([], 256),
        (["--backbone", "hrnet_w18_small"], 256),
        (["--backbone", "lcnet_050"], 32),
        (["--backbone", "lcnet_050", "--encoder-channels", "8"], 8),
    ],
)
def test_encoders_of_light_backbones_are_narrow(monkeypatch, given, width):
    monkeypatch.setattr(sys, "argv", ["train.py", "--out", "unused", *given])
    assert train.parse().encoder_channels == width


def test_command_line_trains_and_shares_a_generator(tmp_path, monkeypatch, capsys):
    command(monkeypatch, tmp_path / "a", "--steps", "1", "2")
    assert load_settings(tmp_path / "a") == SETTINGS
    assert finished(tmp_path / "a") == [1, 2]
    hopenet = ("--method", "hopenet", "--generator", str(tmp_path / "a"))
    command(monkeypatch, tmp_path / "b", *hopenet, "--seed", "3")
    assert finished(tmp_path / "b") == [1, 2]
    first, second = (load_run(tmp_path / name)[1].generator.state_dict() for name in "ab")
    assert same_weights(first, second)
    assert '"images_per_second"' in capsys.readouterr().out


def test_files_in_the_layout_of_rhd_are_trained_on_and_scored(tmp_path, monkeypatch, capsys):
    """Writer, reader, training and evaluation work together."""
    for split, seed in (("training", 0), ("evaluation", 2000)):
        hands = cached_hands(14, seed=seed, image_size=64)
        write_rhd(tmp_path / "rhd", split, hands, progress=False)
    data = ("--data", "rhd", "--root", str(tmp_path / "rhd"), "--cache", str(tmp_path / "cache"))
    command(monkeypatch, tmp_path / "run", *data, "--validate", "1")
    assert finished(tmp_path / "run") == [1, 2, 3, 4]
    flags = [str(tmp_path / "run"), "--out", str(tmp_path / "table"), "--samples", "0"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *flags])
    evaluate.main()
    joints = int(cached_hands(14, seed=2000, image_size=64).tensors["visible"].sum())
    printed = capsys.readouterr().out
    assert "# Table 2 on RHD, evaluation split, 32 px" in printed
    assert f"images (visible joints): all 14 ({joints}), small" in printed
    (scored,) = json.loads((tmp_path / "table/table2.json").read_text())["runs"]
    assert (scored["data"], scored["root"], scored["method"]) == ("rhd", "", "psjnet")


def test_command_line_does_not_overwrite_a_run(tmp_path, monkeypatch):
    command(monkeypatch, tmp_path, "--steps", "1")
    stamp = step_path(tmp_path, 1).stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="continue with --resume"):
        command(monkeypatch, tmp_path, "--steps", "1")
    with pytest.raises(ValueError, match="other settings: seed was 0, is 1"):
        command(monkeypatch, tmp_path, "--steps", "2", "--seed", "1")
    other = ("--image-size", "64", "--generator", str(tmp_path))
    with pytest.raises(ValueError, match="does not fit: image_size was 32, is 64"):
        command(monkeypatch, tmp_path / "other", *other)
    assert not (tmp_path / "other").exists()
    command(monkeypatch, tmp_path, "--resume")
    assert finished(tmp_path) == [1, 2, 3, 4]
    assert step_path(tmp_path, 1).stat().st_mtime_ns == stamp


def test_invalid_settings_do_not_block_the_folder(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="batch size from 1 to 12"):
        command(monkeypatch, tmp_path, "--batch-size", "13")
    with pytest.raises(ValueError, match=r"steps: hopenet has \[1, 2\], got \[3, 4\]"):
        command(monkeypatch, tmp_path, "--method", "hopenet", "--steps", "3", "4")
    command(monkeypatch, tmp_path, "--steps", "1")
    assert load_settings(tmp_path) == SETTINGS


def test_a_folder_is_locked_while_it_is_trained_in(tmp_path, monkeypatch):
    with lock(tmp_path), pytest.raises(RuntimeError, match=rf"in use by process {os.getpid()} on"):
        command(monkeypatch, tmp_path, "--steps", "1")
    command(monkeypatch, tmp_path, "--steps", "1")


def test_a_timeout_while_the_folder_is_locked_is_passed_on(tmp_path):
    with pytest.raises(Timeout), lock(tmp_path):  # not that another process uses the folder
        raise Timeout("other")
    with lock(tmp_path):
        pass


def test_a_generator_that_lacks_weights_is_refused(tmp_path, monkeypatch):
    command(monkeypatch, tmp_path / "first", "--steps", "1")
    path = step_path(tmp_path / "first", 1)
    content = load_weights(path)
    del content["model"]["generator.head.bias"]
    torch.save(content, path)
    with pytest.raises(RuntimeError, match='Missing key.*"head.bias"'):
        command(monkeypatch, tmp_path / "second", "--generator", str(tmp_path / "first"))
    assert finished(tmp_path / "second") == []


def test_a_run_of_an_unknown_method_is_refused(tmp_path, monkeypatch):
    command(monkeypatch, tmp_path, "--steps", "1")
    (tmp_path / "run.json").write_text(replace(SETTINGS, method="nope").to_json())
    with pytest.raises(ValueError, match="method: expected one of .*'psjnet'.*, got 'nope'"):
        load_run(tmp_path)


def test_precision_is_a_setting(tmp_path, monkeypatch):
    command(monkeypatch, tmp_path, "--steps", "1")
    with pytest.raises(ValueError, match="precision was '32-true', is 'bf16-mixed'"):
        command(monkeypatch, tmp_path, "--steps", "2", "--resume", "--precision", "bf16-mixed")


@pytest.mark.parametrize("name", ["step1.pt", "run.json"])
def test_damaged_files_are_named(tmp_path, monkeypatch, name):
    command(monkeypatch, tmp_path, "--steps", "1")
    (tmp_path / name).write_bytes(b"half a file")
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        command(monkeypatch, tmp_path, "--steps", "2", "--resume")
