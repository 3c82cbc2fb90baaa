"""Run jobs in parallel, with one file per job, so that an interrupted run can be continued."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from handgraph.metrics import occlusion_groups
from occlusion.inputs import Epochs, Source, assemble, hide, load, simulated
from occlusion.masked import MaskedLifter
from occlusion.methods import METHODS, Hide, Method
from occlusion.settings import INPUTS, TRAIN_SEED, Job
from occlusion.training import fit
from shared.files import written
from shared.lifters import Hands, camera_space, count, errors, target, to_pixels

NUM_SHOWN = 3
"""Number of severe test images whose predicted hands are stored for the picture."""


def train_and_score(job: Job, out: Path) -> dict[str, Any]:
    """Train the net of a job and measure the errors of its joints, in metres."""
    method, clean = METHODS[job.method], job.regime == "unseen"
    hands = load(training_hands(job), out)
    source = epochs(method, hands, INPUTS[job.inputs], job.detector, clean=clean)
    channels = assemble(hands, INPUTS[job.inputs], clean=clean).shape[-1]
    torch.manual_seed(job.seed)
    net = method.build(channels + (method.hide != "nothing"))
    how = "at random" if clean and method.hide == "the hidden" else method.hide
    fit(net, source, to_pixels(target(hands)), how, job)
    return {"parameters": count(net), **score(net.eval(), job, load(test_hands(job), out))}


def training_hands(job: Job) -> Source:
    """Return the training hands of a job."""
    return Source(job.num_train, TRAIN_SEED + job.draw, job.hands, job.detector)


def test_hands(job: Job) -> Source:
    """Return the test hands of a job."""
    return Source(job.num_test, job.test_seed, job.hands, job.detector)


def epochs(
    method: Method, hands: Hands, names: tuple[str, ...], detector: str, *, clean: bool
) -> Epochs:
    """Return the training inputs; occlusion is simulated only for clean training images."""
    if clean and method.simulate:
        return simulated(hands, method.simulate, detector)
    x = assemble(hands, names, clean=clean)
    return lambda rng: (x, hands["visible"])


@torch.no_grad()
def score(net: nn.Module, job: Job, hands: Hands) -> dict[str, Tensor]:
    """Return errors on the test images, with occluded and clean inputs, and a few hands."""
    names, visible = INPUTS[job.inputs], hands["visible"]
    hide = METHODS[job.method].hide
    pose = predict(net, assemble(hands, names, clean=False), visible, hide)
    ideal = predict(net, assemble(hands, names, clean=True), torch.ones_like(visible), hide)
    few = images_shown(visible)
    return {
        "errors": errors(pose, hands),
        "errors_clean": errors(ideal, hands),
        "hands": camera_space(pose[few], {name: tensor[few] for name, tensor in hands.items()}),
    }


def images_shown(visible: Tensor) -> Tensor:
    """Return the indices of the first severe test images."""
    return occlusion_groups(visible)["severe"].nonzero().flatten()[:NUM_SHOWN]


def predict(net: nn.Module, x: Tensor, visible: Tensor, how: Hide) -> Tensor:
    """Predict the poses of all hands; only methods that use true visibility depend on it."""
    if isinstance(net, MaskedLifter):
        some = zip(x.split(1000), visible.split(1000), strict=True)
        return torch.cat([net(*hands) for hands in some])
    shown = visible if how == "the hidden" else torch.ones_like(visible)
    return net(hide(x, shown, "nothing" if how == "nothing" else "the hidden"))


def run_all(jobs: Sequence[Job], out: Path, workers: int, title: str) -> dict[Job, dict[str, Any]]:
    """Run the jobs without a result, and return the results of all jobs.

    Every worker is a process with one thread. Each result is written to its own file, first under
    another name, so that an interruption loses only the jobs that are running.
    """
    (out / "runs").mkdir(parents=True, exist_ok=True)
    left = [job for job in dict.fromkeys(jobs) if not job.path(out).exists()]
    prepare(left, out)
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(left), desc=title, unit="net")
    with bar, ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:
        pending = [pool.submit(_run, job, out) for job in left]
        try:
            for done in as_completed(pending):
                bar.set_postfix_str(done.result())
                bar.update()
        except BaseException:  # otherwise the pool would run all remaining jobs
            for worker in active_children():
                worker.terminate()
            raise
    return {job: torch.load(job.path(out), weights_only=True) for job in jobs}


def prepare(jobs: Sequence[Job], out: Path) -> None:
    """Simulate each set of hands once, before all workers need it at the same time."""
    wanted = {hands(job) for job in jobs for hands in (training_hands, test_hands)}
    for source in tqdm(sorted(wanted), desc="simulated hands", unit="set", disable=not wanted):
        load(source, out)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    torch.set_num_threads(1)


def _run(job: Job, out: Path) -> str:
    result = train_and_score(job, out)
    with written(job.path(out)) as part:
        torch.save(result, part)
    return f"{job.method}, {job.regime}, {job.detector}"
