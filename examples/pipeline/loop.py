"""The training of one step: its losses, log and checkpoints."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.hands import Order
from pipeline.objectives import StepModule
from pipeline.scores import hits_2d
from pipeline.settings import Settings
from pipeline.store import load_weights, save
from shared.lifters import Hands
from shared.training import minimize

ROW = ("step", "iteration", "loss", "pck_2d", "rate", "images_per_second")
"""A row of the log, with means over hands and processes since the previous row."""

ROW_EVERY = 10
PARTS, PROGRESS = ("model", "optimizer", "schedule"), ("iteration", "seconds", "rows")
"""Attributes of a training in a checkpoint: those with a ``state_dict``, and plain values."""


class Training:
    """The training of one step for a number of iterations, and its progress."""

    def __init__(
        self, fabric: Fabric, module: StepModule, order: Order, length: int, settings: Settings
    ):
        self.fabric, self.order, self.length = fabric, order, length
        self.model, self.image_size = module.model, settings.image_size
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer, self.schedule = settings.recipe(order.step).start([trained], length)
        self.module, self.optimizer = fabric.setup(module, optimizer)
        self.iteration, self.seconds, self.rows = 0, 0.0, []

    def run(self, batches: Iterable[Hands], checkpoint: Path, every: int) -> None:
        """Run the remaining iterations; write a checkpoint every ``every`` iterations."""
        losses = self.losses(batches, checkpoint, every)
        try:
            minimize(losses, self.optimizer, self.schedule, self.fabric.backward)
        except FloatingPointError as error:
            some = self.order.batch(self.iteration)
            raise FloatingPointError(
                f"step {self.order.step}, iteration {self.iteration}, hands {some}: {error}; "
                f"{culprit(self.model)}. The last checkpoint is unchanged"
            ) from error

    def losses(self, batches: Iterable[Hands], checkpoint: Path, every: int) -> Iterator[Tensor]:
        """Yield the loss of each batch; after its optimiser step, log it and write checkpoints."""
        start, first, sums = time.perf_counter() - self.seconds, self.iteration, 0
        title, quiet = f"step {self.order.step}", not self.fabric.is_global_zero
        bar = tqdm(initial=self.iteration, total=self.length, desc=title, disable=quiet)
        since = time.perf_counter()
        for hands in batches:
            torch.manual_seed(self.order.seed * 1_000_003 + self.iteration)  # dropout, if any
            loss, pose = self.module(hands)
            yield loss
            hits = hits_2d(pose.detach()[..., :2], hands, self.image_size)
            sums = sums + torch.stack([loss.detach(), *hits])
            self.iteration, now = self.iteration + 1, time.perf_counter()
            self.seconds = now - start
            if self.iteration % ROW_EVERY == 0 or self.iteration == self.length:
                row = self.row(sums, self.iteration - first, now - since)
                bar.set_postfix_str("loss {2:.4g}, 2D PCK {3:.1f}, {5:.0f} images/s".format(*row))
                self.rows.append(row)
                first, sums, since = self.iteration, 0, now
            if self.iteration % every == 0:
                save(self.fabric, checkpoint, self.state())
            bar.update()
        bar.close()

    def row(self, sums: Tensor, number: int, seconds: float) -> list[float]:
        """Return a row of the log, with means over a number of iterations and all processes."""
        loss, correct, visible = self.fabric.all_reduce(sums, reduce_op="sum").tolist()
        loss, pck = loss / (number * self.order.world), 100 * correct / max(visible, 1)
        speed, rate = number * self.order.batch_size / seconds, self.schedule.get_last_lr()[0]
        return [self.order.step, self.iteration, loss, pck, rate, speed]

    def state(self) -> dict[str, Any]:
        """Return the state to resume from; it determines the order and all random draws."""
        progress = {name: getattr(self, name) for name in PROGRESS}
        states = {name: getattr(self, name).state_dict() for name in PARTS}
        return {"step": self.order.step, **progress, **states}

    def restore(self, path: Path) -> None:
        """Load the state of a checkpoint of this step, if there is one."""
        state = load_weights(path) if path.exists() else {}
        if state.get("step") == self.order.step:
            for name in PARTS:
                getattr(self, name).load_state_dict(state[name])
            self.iteration, self.seconds, self.rows = (state[name] for name in PROGRESS)


def culprit(model: nn.Module) -> str:
    """Name a parameter that is not finite, or whose gradient is not."""
    trained = [(name, p) for name, p in model.named_parameters() if p.grad is not None]
    bad = [f"{name} is not finite" for name, p in trained if not p.isfinite().all()]
    bad += [f"the gradient of {n} is not finite" for n, p in trained if not p.grad.isfinite().all()]
    return next(iter(bad), "all gradients are finite")
