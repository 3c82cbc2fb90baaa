"""Train one net with Adam and a one-cycle rate; PSJNet by steps 2 to 4 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from handgraph.losses import pose_loss
from occlusion.inputs import Epochs, hide
from occlusion.masked import MaskedLifter
from occlusion.methods import Hide
from occlusion.settings import Job
from shared.lifters import PSJNetCore, psjnet_losses, to_pixels
from shared.training import batches, minimize


class Batch(NamedTuple):
    """Inputs ``[B, J, C]``, target (u, v, d) ``[B, J, 3]``, visibility and random generator."""

    x: Tensor
    target: Tensor
    visible: Tensor
    rng: torch.Generator


class Stage(NamedTuple):
    """A stage of training: its share of the epochs, its parameter groups and its loss."""

    share: float
    groups: list[list[nn.Parameter]]
    loss: Callable[[Batch], Tensor]


def stages(net: nn.Module) -> list[Stage]:
    """Return the stages; only a method whose merger has no parameters has fewer epochs in total."""
    if isinstance(net, PSJNetCore):
        return psjnet_stages(net)

    def loss(batch: Batch) -> Tensor:
        def of_pose(pose: Tensor, mask: Tensor | None = None) -> Tensor:
            return pose_loss(to_pixels(pose), batch.target, mask=mask)

        if isinstance(net, MaskedLifter):  # over the kept joints of one draw
            return net.loss(batch.x, batch.visible, batch.rng, of_pose)
        return of_pose(net(batch.x))

    parts = net.children() if isinstance(net, MaskedLifter) else [net]
    return [Stage(1.0, [list(part.parameters()) for part in parts], loss)]  # clipped separately


def psjnet_stages(net: PSJNetCore) -> list[Stage]:
    """Return steps 2, 3 and 4 of the paper (section 2.2); the detector of step 1 is simulated."""
    branch, merger = list(net.branches.parameters()), list(net.merge.parameters())
    trained, shares = (branch, merger, [*branch, *merger]), (0.4, 0.2, 0.4)
    return [
        Stage(share, [some], lambda batch, loss=loss: loss(batch.x, batch.target)[0])
        for share, some, loss in zip(shares, trained, psjnet_losses(net), strict=True)
        if some
    ]


def fit(net: nn.Module, source: Epochs, target: Tensor, how: Hide, job: Job) -> None:
    """Train a net through its stages.

    Args:
        net: The net.
        source: Returns the inputs ``[n, J, C]`` and the visibility ``[n, J]`` of an epoch.
        target: True (u, v, d), with u and v in pixels ``[n, J, 3]``.
        how: Which joints are hidden from the net.
        job: Its seed determines the order of samples and all random draws in training.
    """
    recipe, rng = job.recipe(), torch.Generator().manual_seed(job.seed)
    size = min(recipe.batch_size, len(target))

    def losses(stage: Stage, epochs: int) -> Iterator[Tensor]:
        for _ in range(epochs):
            x, visible = source(rng)
            for some in batches(len(target), size, 1, rng):
                if len(some) == size:  # skips an incomplete batch at the end
                    seen = hide(x[some], visible[some], how, rng)
                    yield stage.loss(Batch(seen, target[some], visible[some], rng))

    for stage in stages(net):
        epochs = max(1, round(stage.share * job.epochs))
        steps = epochs * (len(target) // size)
        minimize(losses(stage, epochs), *recipe.start(stage.groups, steps))
