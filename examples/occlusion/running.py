"""Run jobs in parallel, with one file per job, so that an interrupted run can be continued."""

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
from occlusion.masked import MaskedLifter
from occlusion.methods import METHODS, Hide
from occlusion.settings import INPUTS, Job
from occlusion.training import assemble, epochs, fit, hide
from shared.files import written
from shared.lifters import Hands, camera_space, count, errors, target, to_pixels


def train_and_score(job: Job, out: Path) -> dict[str, Any]:
    """Train the net of a job and measure the errors of its joints, in metres."""
    method, names, clean = METHODS[job.method], INPUTS[job.inputs], job.regime == "unseen"
    hands = job.training_hands().load(out)
    source = epochs(method, hands, names, job.detector, clean=clean)
    channels = assemble(hands, names, clean=clean).shape[-1]
    torch.manual_seed(job.seed)
    net = method.build(channels + (method.hide != "nothing"))
    how = "at random" if clean and method.hide == "the hidden" else method.hide
    fit(net, source, to_pixels(target(hands)), how, job)
    found = score(net.eval(), names, method.hide, job.test_hands().load(out))
    return {"parameters": count(net), **found}


@torch.no_grad()
def score(net: nn.Module, names: tuple[str, ...], how: Hide, hands: Hands) -> dict[str, Tensor]:
    """Return errors on the test images, with occluded and clean inputs, and a few hands."""
    visible = hands["visible"]
    pose = predict(net, assemble(hands, names, clean=False), visible, how)
    ideal = predict(net, assemble(hands, names, clean=True), torch.ones_like(visible), how)
    few = images_shown(visible)
    return {
        "errors": errors(pose, hands),
        "errors_clean": errors(ideal, hands),
        "hands": camera_space(pose[few], {name: tensor[few] for name, tensor in hands.items()}),
    }


def images_shown(visible: Tensor) -> Tensor:
    """Return the indices of the first three severe test images."""
    return occlusion_groups(visible)["severe"].nonzero().flatten()[:3]


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
    wanted = {hands for job in left for hands in (job.training_hands(), job.test_hands())}
    for source in tqdm(sorted(wanted), desc="simulated hands", unit="set", disable=not wanted):
        source.load(out)  # once, before all workers need it at the same time
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


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    torch.set_num_threads(1)


def _run(job: Job, out: Path) -> str:
    result = train_and_score(job, out)
    with written(job.path(out)) as part:
        torch.save(result, part)
    return f"{job.method}, {job.regime}, {job.detector}"
