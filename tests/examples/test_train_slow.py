import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

lightning_fabric = pytest.importorskip("lightning.fabric")

import train  # noqa: E402

from pipeline.hands import batches  # noqa: E402
from pipeline.objectives import StepModule  # noqa: E402
from pipeline.run import Run  # noqa: E402
from pipeline.scores import score  # noqa: E402
from pipeline.settings import Settings  # noqa: E402
from pipeline.store import load_weights, step_path  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY_RUN = (
    *("--samples", "16", "--image-size", "32", "--batch-size", "4", "--encoder-channels", "4"),
    *("--backbone", "hrnet_w18_small", "--device", "cpu", "--validate", "6"),
)


def start(out, *more):
    """Run ``train.py`` in a new process."""
    paths = {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / "train.py"), "--out", str(out), *TINY_RUN, *more]
    with (out.parent / "output.txt").open("a") as output:
        streams = {"stdout": output, "stderr": output, "start_new_session": True}
        return subprocess.Popen(command, env={**os.environ, **paths}, **streams)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(tmp_path):
    length = ("--iterations", "12", "12", "6", "6", "--checkpoint-every", "3", "--resume")
    whole = start(tmp_path / "whole", *length)
    rng, kills, cut = random.Random(0), 0, tmp_path / "cut"
    while not step_path(cut, 4).exists():
        process = start(cut, *length)
        before = newest(cut)
        while kills < 3 and newest(cut) == before and process.poll() is None:
            time.sleep(0.01)
        if kills < 3:
            time.sleep(rng.random() / 4)
            process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), said(tmp_path)
    assert whole.wait() == 0, said(tmp_path)
    assert kills >= 2
    for step in (1, 2, 3, 4):
        weights = [load_weights(step_path(tmp_path / n, step))["model"] for n in ("whole", "cut")]
        assert same_weights(*weights), step
    assert not list(cut.glob("resume*"))


def same_weights(first, second):
    pairs = zip(first.values(), second.values(), strict=True)
    return list(first) == list(second) and all(torch.equal(a, b) for a, b in pairs)


def newest(folder):
    """Return the time of the newest checkpoint."""
    times = [path.stat().st_mtime_ns for path in folder.glob("resume.pt")]
    return max(times, default=0)


TWO = """
import sys
import time
from pathlib import Path
import torch
from lightning.fabric import Fabric
from pipeline.loop import Training
from pipeline.objectives import StepModule
from pipeline.run import Run
from pipeline.settings import Settings
from train import parse

number, out = int(sys.argv[1]), Path(sys.argv[2])
settings = Settings(samples=8, image_size=32, backbone="hrnet_w18_small", encoder_channels=4,
                    batch_size=4)
fabric = Fabric(accelerator="cpu", devices=number, strategy="ddp" if number > 1 else "auto")
fabric.launch()
run = Run(fabric, settings, parse(["--out", str(out), "--validate", "6"]))
run.model.double()  # else argmax differs where sums are rounded in another order
found = {}
for step in (1, 2, 3, 4):
    module = StepModule(run.model, run.steps[step])
    training = Training(fabric, module, run.order(step), 1, settings)
    module.eval()
    hands = next(run.batches(run.order(step), range(1)))
    fabric.backward(training.module(hands)[0])
    grads = {n: p.grad.clone() for n, p in run.model.named_parameters() if p.grad is not None}
    run.model.zero_grad()
    found[str(step)] = {"grads": grads, "scores": run.validate(module)}
if fabric.is_global_zero:
    torch.save(found, out / f"{number}.pt")
"""


@pytest.mark.slow
def test_two_processes_give_the_gradients_and_scores_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    paths = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    for number in ("1", "2"):
        command = [sys.executable, str(script), number, str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in "12")
    for step in "1234":
        assert one[step]["scores"] == pytest.approx(two[step]["scores"], rel=1e-5)
        assert one[step]["grads"].keys() == two[step]["grads"].keys()
        for name, grad in one[step]["grads"].items():
            atol = 1e-6 * grad.abs().max().item() + 1e-12
            torch.testing.assert_close(two[step]["grads"][name], grad, rtol=0, atol=atol)


@pytest.mark.slow
def test_two_processes_train_all_steps(tmp_path):
    """One process fills the cache; training uses half precision and is killed once."""
    flags = ("--devices", "2", "--precision", "bf16-mixed", "--cache", str(tmp_path / "cache"))
    length = ("--iterations", "20", "2", "2", "2", "--checkpoint-every", "2", "--resume")
    process = start(tmp_path / "run", *flags, *length)
    while not newest(tmp_path / "run") and process.poll() is None:
        time.sleep(0.01)
    kill_with_children(process)
    assert start(tmp_path / "run", *flags, *length).wait() == 0, said(tmp_path)
    report = json.loads((tmp_path / "run/step4.json").read_text())
    assert report["machine"]["processes"] == 2
    assert report["iterations"] == 2
    weights = [load_weights(step_path(tmp_path / "run", n))["model"] for n in (1, 2, 3, 4)]
    generators = [{k: v for k, v in w.items() if k.startswith("generator.")} for w in weights]
    assert all(same_weights(generator, generators[0]) for generator in generators)
    assert all(value.isfinite().all() for value in weights[3].values())


def kill_with_children(process):
    """Kill a process and its children, which have their own session."""
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def said(folder):
    """Return the last lines that the processes printed."""
    return (folder / "output.txt").read_text()[-2000:]


@pytest.mark.slow
def test_the_pipeline_learns_8_images_by_heart(tmp_path):
    settings = Settings(
        samples=8,
        image_size=128,
        backbone="hrnet_w18_small",
        channels=8,
        encoder_channels=16,
        batch_size=8,
        iterations=(200, 300, 150, 120),
        rates=(2e-3, 1e-2, 1e-2, 3e-3),
        jitter=0.0,
    )
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1)
    flags = ("--out", tmp_path, "--cache", tmp_path / "cache", "--validate", 0)
    run = Run(fabric, settings, train.parse([str(flag) for flag in flags]))
    run.run([1, 2, 3, 4])
    hands = list(batches(run.hands, [list(range(8))], fabric.device))
    found, lifted = (score(StepModule(run.model, run.steps[n]), hands, 128) for n in (1, 4))
    assert found["pixels_2d"] < 4  # one pixel of the heatmaps
    assert lifted["pixels_2d"] < 4
    assert lifted["mm"] < 5
