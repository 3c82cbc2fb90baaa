"""The training of one step: its losses, log and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.objectives import StepModule
from pipeline.order import Order
from pipeline.scores import hits_2d
from pipeline.settings import Settings
from pipeline.store import load_weights, save
from shared.lifters import Hands
from shared.training import minimize

ROW = ("step", "iteration", "loss", "pck_2d", "rate", "images_per_second")
"""A row of the log, with means over hands and processes since the previous row."""

ROW_EVERY = 10


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
        """Run the remaining iterations; write a checkpoint every ``every`` iterations.

        Raises:
            FloatingPointError: If loss or gradient are not finite; no parameter is changed then.
        """
        losses = self.losses(batches, checkpoint, every)
        try:
            minimize(losses, self.optimizer, self.schedule, self.fabric.backward)
        except FloatingPointError as error:
            some = self.order.mine(self.iteration).tolist()
            raise FloatingPointError(
                f"step {self.order.step}, iteration {self.iteration}, hands {some}: {error}; "
                f"{culprit(self.model)}. Nothing was written: the last checkpoint is as it was"
            ) from error

    def losses(self, batches: Iterable[Hands], checkpoint: Path, every: int) -> Iterator[Tensor]:
        """Yield the loss of each batch; after its optimiser step, log it and write checkpoints."""
        start, sums, since = time.perf_counter() - self.seconds, 0, time.perf_counter()
        title, quiet = f"step {self.order.step}", not self.fabric.is_global_zero
        bar = tqdm(initial=self.iteration, total=self.length, desc=title, disable=quiet)
        for hands in batches:
            torch.manual_seed(self.order.seed * 1_000_003 + self.iteration)  # dropout, if any
            loss, pose = self.module(hands)
            yield loss
            sums = sums + self.measure(loss.detach(), pose.detach(), hands)
            self.iteration, now = self.iteration + 1, time.perf_counter()
            self.seconds = now - start
            if self.iteration % ROW_EVERY == 0 or self.iteration == self.length:
                row = self.row(sums, now - since)
                bar.set_postfix_str("loss {2:.4g}, 2D PCK {3:.1f}, {5:.0f} images/s".format(*row))
                self.rows.append(row)
                sums, since = 0, now
            if self.iteration % every == 0:
                save(self.fabric, checkpoint, self.state())
            bar.update()
        bar.close()

    def measure(self, loss: Tensor, pose: Tensor, hands: Hands) -> Tensor:
        """Return the loss, 1, and the numbers of correct joints, visible joints and hands."""
        correct, visible = hits_2d(pose[..., :2], hands, self.image_size)
        one = torch.ones_like(loss)
        return torch.stack([loss, one, correct, visible, len(pose) * one])

    def row(self, sums: Tensor, seconds: float) -> list[float]:
        """Return a row of the log, with means over all processes."""
        summed = self.fabric.all_reduce(sums, reduce_op="sum")
        loss, batches, correct, visible, number = summed.tolist()
        rate, pck = self.schedule.get_last_lr()[0], 100 * correct / max(visible, 1)
        return [self.order.step, self.iteration, loss / batches, pck, rate, number / seconds]

    def state(self) -> dict[str, Any]:
        """Return the state to resume from; it determines the order and all random draws."""
        plain = {name: getattr(self, name) for name in ("iteration", "seconds", "rows")}
        parts = {name: getattr(self, name) for name in ("model", "optimizer", "schedule")}
        states = {name: part.state_dict() for name, part in parts.items()}
        return {"step": self.order.step, **plain, **states}

    def restore(self, path: Path) -> None:
        """Load the state of a checkpoint of this step, if there is one."""
        state = load_weights(path) if path.exists() else {}
        if state.pop("step", None) != self.order.step:
            return
        for name in ("model", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state.pop(name))
        vars(self).update(state)


def culprit(model: nn.Module) -> str:
    """Name a parameter that is not finite, or whose gradient is not."""
    trained = [(name, p) for name, p in model.named_parameters() if p.grad is not None]
    bad = [f"{name} is not finite" for name, p in trained if not p.isfinite().all()]
    bad += [f"the gradient of {n} is not finite" for n, p in trained if not p.grad.isfinite().all()]
    return next(iter(bad), "all gradients are finite")
