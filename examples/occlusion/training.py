"""Train one net with Adam and a one-cycle rate; PSJNet by steps 2 to 4 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from handgraph.losses import branch_losses, pose_loss, psjnet_loss
from occlusion.inputs import hide, to_pixels
from occlusion.methods import Hide, PSJNetCore

MAX_NORM = 1.0
"""Gradients are scaled down to this norm: without it, some seeds of graph U-Nets collapse."""


class Stage(NamedTuple):
    """A stretch of training: its share of the epochs, what it trains, on which loss."""

    share: float
    parameters: list[nn.Parameter]
    loss: Callable[[Tensor, Tensor], Tensor]


def stages(net: nn.Module) -> list[Stage]:
    """The stages of a method; all methods have the same number of epochs in all."""
    if isinstance(net, PSJNetCore):
        return psjnet_stages(net)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        return pose_loss(to_pixels(net(x)), target)

    return [Stage(1.0, list(net.parameters()), loss)]


def psjnet_stages(net: PSJNetCore) -> list[Stage]:
    """Give steps 2, 3 and 4 of the paper (section 2.2); step 1 is the detector, which is given."""

    def branches(x: Tensor, target: Tensor) -> Tensor:
        partial = to_pixels(net.branches(net.split(x)))
        return branch_losses(partial, target, net.removal).sum()

    def merge(x: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            partial = net.branches(net.split(x))
        return pose_loss(to_pixels(net.merge(partial)), target)

    def everything(x: Tensor, target: Tensor) -> Tensor:
        partial = net.branches(net.split(x))
        merged = to_pixels(net.merge(partial))
        return psjnet_loss(merged, to_pixels(partial), target, net.removal)

    branch, merger = list(net.branches.parameters()), list(net.merge.parameters())
    steps = [Stage(0.4, branch, branches), Stage(0.2, merger, merge)]
    return [s for s in steps if s.parameters] + [Stage(0.4, [*branch, *merger], everything)]


def batches(num_samples: int, size: int, epochs: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Samples of each batch, in a new order in each epoch; the odd ones at its end are left out."""
    size = min(size, num_samples)
    for _ in range(epochs):
        order = torch.randperm(num_samples, generator=rng)
        yield from order[: num_samples - num_samples % size].split(size)


def fit(
    net: nn.Module,
    x: Tensor,
    target: Tensor,
    visible: Tensor,
    *,
    how: Hide,
    rate: float,
    epochs: int,
    batch_size: int,
    rng: torch.Generator,
) -> None:
    """Train a net through its stages.

    Args:
        net: The net.
        x: Inputs ``[n, J, C]``.
        target: Wanted (u, v, d), u and v in pixels ``[n, J, 3]``.
        visible: Which joints are visible ``[n, J]``.
        how: Which joints are hidden from the net.
        rate: The highest learning rate.
        epochs: Passes over the samples, all stages together.
        batch_size: Samples in a batch.
        rng: Where the order of samples, and joints hidden at random, come from.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    for stage in stages(net):
        length = max(1, round(stage.share * epochs))
        steps = length * max(1, len(x) // batch_size)
        optimizer = torch.optim.Adam(stage.parameters, lr=rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
        for batch in batches(len(x), batch_size, length, rng):
            optimizer.zero_grad()
            loss = stage.loss(hide(x[batch], visible[batch], how, rng), target[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(stage.parameters, MAX_NORM)
            optimizer.step()
            schedule.step()
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of {net} is {loss.item()} at rate {rate}")
