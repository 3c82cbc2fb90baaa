"""A training step: what it trains, on which loss, and what stays frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from pipeline.targets import Hands
from psjnet import Detection, PoseNet


class Step(NamedTuple):
    """A training step.

    Args:
        parts: What it trains; everything else is frozen, batch norms too.
        loss: From what was detected, and the hands, to a loss and the poses behind it:
            ``[B, J, 3]``, or (u, v) alone.
        detect: From images to what was detected; ``None``: ``model.detect``.
    """

    parts: list[nn.Module]
    loss: Callable[[Detection, Hands], tuple[Tensor, Tensor]]
    detect: Callable[[Tensor], Detection] | None = None


class StepModule(nn.Module):
    """A model in one of its steps: from a batch of hands to a loss, and the poses behind it.

    Args:
        model: The model, which is frozen but for the parts of the step.
        step: The step.
    """

    def __init__(self, model: PoseNet, step: Step):
        super().__init__()
        self.model = set_step(model, step)
        self.step = step

    def forward(self, hands: Hands) -> tuple[Tensor, Tensor]:
        """Detect, unless that is cached, and give the loss and (u, v, d), or (u, v) in step 1."""
        if "uv" in hands:
            found = Detection(hands["uv"], hands.get("features"), hands.get("heatmaps"))
        else:
            found = (self.step.detect or self.model.detect)(hands["image"])
        return self.step.loss(found, hands)


def set_step(model: PoseNet, step: Step) -> PoseNet:
    """Freeze all but the parts of the step: no gradient, and batch norms in eval mode."""
    model.eval().requires_grad_(False)
    for part in step.parts:
        part.train().requires_grad_(True)
    return model


def trains_generator(model: PoseNet, step: Step) -> bool:
    """Whether the generator changes in this step, so that what it finds cannot be cached."""
    return any(part is model.generator for part in step.parts)
