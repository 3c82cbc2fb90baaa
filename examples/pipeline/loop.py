"""The loop over the iterations of a step, with its bar, its log and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from pipeline.measure import hits_2d
from pipeline.order import Order
from pipeline.targets import Hands
from pipeline.trained import Position, Trained, save

ROW_EVERY = 10
"""Iterations between rows of the log."""


class Row(NamedTuple):
    """A row of the log: means over hands and processes since the row before."""

    step: int
    iteration: int
    loss: float
    pck_2d: float
    rate: float
    images_per_second: float


@dataclass
class Loop:
    """The loop of a step.

    Args:
        trained: What it trains.
        order: Which hands when.
        length: Iterations.
        image_size: Side of the images.
        checkpoint: Where checkpoints go.
        checkpoint_every: Iterations between them.
    """

    trained: Trained
    order: Order
    length: int
    image_size: int
    checkpoint: Path
    checkpoint_every: int

    def run(self, batches: Iterator[Hands], position: Position) -> None:
        """Run the iterations that are left, and keep the position up to date."""
        start, fabric = time.perf_counter() - position.seconds, self.trained.fabric
        meter, quiet = Meter(fabric, self.image_size), not fabric.is_global_zero
        title = f"step {self.order.step}"
        bar = tqdm(initial=position.iteration, total=self.length, desc=title, disable=quiet)
        for hands in batches:
            meter.add(*self.iterate(hands, position.iteration), hands)
            position.iteration += 1
            position.seconds = time.perf_counter() - start
            self.log(meter, position, bar)
            if position.iteration % self.checkpoint_every == 0:
                save(fabric, self.checkpoint, self.trained.state(self.order.step, position))
            bar.update()
        bar.close()

    def iterate(self, hands: Hands, iteration: int) -> tuple[Tensor, Tensor]:
        """Take an optimiser step, with random numbers of its own for dropout, if there is any."""
        torch.manual_seed(self.order.seed * 1_000_003 + iteration)
        some = self.order.mine(iteration).tolist()
        where = f"step {self.order.step}, iteration {iteration}, hands {some}"
        return self.trained.iterate(hands, where)

    def log(self, meter: Meter, position: Position, bar: tqdm) -> None:
        """Write a row, if it is time."""
        if position.iteration % ROW_EVERY and position.iteration != self.length:
            return
        rate = self.trained.schedule.get_last_lr()[0]
        row = meter.row(self.order.step, position.iteration, rate)
        position.rows.append(list(row))
        speed = f"{row.images_per_second:.0f} images/s"
        bar.set_postfix_str(f"loss {row.loss:.4g}, 2D PCK {row.pck_2d:.1f}, {speed}")


class Meter:
    """Sums since the last row of the log."""

    def __init__(self, fabric: Fabric, image_size: int):
        self.fabric, self.image_size = fabric, image_size
        self.sums, self.since = torch.zeros(5, device=fabric.device), time.perf_counter()

    def add(self, loss: Tensor, pose: Tensor, hands: Hands) -> None:
        """Add a batch."""
        correct, visible = hits_2d(pose[..., :2], hands, self.image_size)
        one = torch.ones_like(loss)
        self.sums += torch.stack([loss, one, correct, visible, len(pose) * one])

    def row(self, step: int, iteration: int, rate: float) -> Row:
        """Give the means, and begin anew."""
        sums = self.fabric.all_reduce(self.sums, reduce_op="sum")
        loss, batches, correct, visible, number = sums.tolist()
        now = time.perf_counter()
        speed, self.since = number / (now - self.since), now
        self.sums = torch.zeros_like(self.sums)
        return Row(step, iteration, loss / batches, 100 * correct / max(visible, 1), rate, speed)
