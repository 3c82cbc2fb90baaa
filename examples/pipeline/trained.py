"""Module, optimiser and schedule of a step: one iteration, and what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipeline.order import warm_cosine
from pipeline.step import StepModule
from pipeline.store import load_weights, publish
from pipeline.targets import Hands

MAX_NORM = 1.0
"""Gradients are scaled down to this norm: without it, some seeds of graph U-Nets collapse."""

WEIGHT_DECAY = 1e-4
"""Of AdamW."""


@dataclass
class Position:
    """Where a step stands: iterations done, seconds that they took, rows of the log."""

    iteration: int = 0
    seconds: float = 0.0
    rows: list[list[float]] = field(default_factory=list)


class Trained:
    """What a step trains, set up by Fabric.

    Args:
        fabric: Devices, processes, precision.
        module: The model in this step.
        rate: The highest learning rate.
        length: Iterations of the step.
    """

    def __init__(self, fabric: Fabric, module: StepModule, rate: float, length: int):
        self.fabric, self.model = fabric, module.model
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer: Optimizer = AdamW(parameters, lr=rate, weight_decay=WEIGHT_DECAY)
        self.plain: nn.Module = module
        self.module, self.optimizer = fabric.setup(module, optimizer)
        self.schedule = LambdaLR(self.optimizer, lambda iteration: warm_cosine(iteration, length))

    def iterate(self, hands: Hands, where: str) -> tuple[Tensor, Tensor]:
        """Take one optimiser step; give the loss and the poses ``[B, J, 2 or 3]``.

        Raises:
            FloatingPointError: If loss or gradient are not finite; no parameter is changed then.
        """
        self.optimizer.zero_grad()
        loss, pose = self.module(hands)
        self.fabric.backward(loss)
        self.check_finite(loss, where)
        self.fabric.clip_gradients(self.module, self.optimizer, max_norm=MAX_NORM)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach(), pose.detach()

    def check_finite(self, loss: Tensor, where: str) -> None:
        """Raise if the loss or a gradient is not finite, and say where and which parameter."""
        named = [(name, p) for name, p in self.plain.named_parameters() if p.grad is not None]
        if (loss + get_total_norm([p.grad for _, p in named])).isfinite():
            return
        bad = [f"{name} is not finite" for name, p in named if not p.isfinite().all()]
        bad += [
            f"the gradient of {name} is not" for name, p in named if not p.grad.isfinite().all()
        ]
        first = next(iter(bad), "all gradients are finite").replace("model.", "", 1)
        raise FloatingPointError(
            f"{where}: the loss is {loss.item()}; {first}. Nothing was written: the last "
            "checkpoint is as it was"
        )

    def state(self, step: int, position: Position) -> dict[str, Any]:
        """Everything that going on needs: order and chance follow from the position."""
        return {
            "step": step,
            **vars(position),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, path: Path, step: int) -> Position:
        """Go on where a checkpoint of this step stands; from the beginning if there is none."""
        state = load_weights(path) if path.exists() else {}
        if state.get("step") != step:
            return Position()
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        return Position(state["iteration"], state["seconds"], state["rows"])


def save(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Write a file in one step; all processes call this, and Fabric lets the first one write."""
    part = path.with_name(path.name + ".part")
    fabric.save(part, state)
    if fabric.is_global_zero:
        publish(part, path)
    fabric.barrier()
