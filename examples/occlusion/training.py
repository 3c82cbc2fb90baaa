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
    """Inputs ``[B, J, C]``, wanted (u, v, d) ``[B, J, 3]``, what is visible, random numbers."""

    x: Tensor
    target: Tensor
    visible: Tensor
    rng: torch.Generator


class Stage(NamedTuple):
    """A stretch of training: its share of the epochs, what it trains, on which loss."""

    share: float
    groups: list[list[nn.Parameter]]
    loss: Callable[[Batch], Tensor]


def stages(net: nn.Module) -> list[Stage]:
    """The stages of a method; all methods have the same number of epochs in all."""
    if isinstance(net, PSJNetCore):
        return psjnet_stages(net)

    def loss(batch: Batch) -> Tensor:
        def of_pose(pose: Tensor, mask: Tensor | None = None) -> Tensor:
            return pose_loss(to_pixels(pose), batch.target, mask=mask)

        if isinstance(net, MaskedLifter):  # over the joints that one draw keeps
            return net.loss(batch.x, batch.visible, batch.rng, of_pose)
        return of_pose(net(batch.x))

    parts = net.children() if isinstance(net, MaskedLifter) else [net]
    return [Stage(1.0, [list(part.parameters()) for part in parts], loss)]  # clipped apart


def psjnet_stages(net: PSJNetCore) -> list[Stage]:
    """Give steps 2, 3 and 4 of the paper (section 2.2); step 1 is the detector, which is given."""
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
        source: Gives inputs ``[n, J, C]`` and what is visible ``[n, J]``, once an epoch.
        target: Wanted (u, v, d), u and v in pixels ``[n, J, 3]``.
        how: Which joints are hidden from the net.
        job: Its seed is that of the order of samples and of all that is drawn in training.
    """
    rng, size = torch.Generator().manual_seed(job.seed), min(job.batch_size, len(target))

    def losses(stage: Stage, epochs: int) -> Iterator[Tensor]:
        for _ in range(epochs):
            x, visible = source(rng)
            for some in batches(len(target), size, 1, rng):
                if len(some) == size:  # the odd ones at the end are left out
                    seen = hide(x[some], visible[some], how, rng)
                    yield stage.loss(Batch(seen, target[some], visible[some], rng))

    for stage in stages(net):
        epochs = max(1, round(stage.share * job.epochs))
        steps = epochs * max(1, len(target) // job.batch_size)
        minimize(losses(stage, epochs), stage.groups, job.rate, steps, fused=True)
