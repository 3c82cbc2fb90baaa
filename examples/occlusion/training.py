"""Train one net with Adam and a one-cycle rate; PSJNet by steps 2 to 4 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from handgraph.losses import branch_losses, pose_loss, psjnet_loss
from occlusion.inputs import Epochs, hide, to_pixels
from occlusion.masked import MaskedLifter
from occlusion.methods import Hide, PSJNetCore

MAX_NORM = 1.0
"""Gradients are scaled down to this norm: without it, some seeds of graph U-Nets collapse."""


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
    if isinstance(net, MaskedLifter):
        return [Stage(1.0, net.parameter_groups(), masked_loss(net))]

    def loss(batch: Batch) -> Tensor:
        return pose_loss(to_pixels(net(batch.x)), batch.target)

    return [Stage(1.0, [list(net.parameters())], loss)]


def masked_loss(net: MaskedLifter) -> Callable[[Batch], Tensor]:
    """Eq. 3 over the joints that one draw keeps."""

    def loss(batch: Batch) -> Tensor:
        def kept(pose: Tensor, mask: Tensor) -> Tensor:
            return pose_loss(to_pixels(pose), batch.target, mask=mask)

        return net.loss(batch.x, batch.visible, batch.rng, kept)

    return loss


def psjnet_stages(net: PSJNetCore) -> list[Stage]:
    """Give steps 2, 3 and 4 of the paper (section 2.2); step 1 is the detector, which is given."""

    def branches(batch: Batch) -> Tensor:
        partial = to_pixels(net.branches(net.split(batch.x)))
        return branch_losses(partial, batch.target, net.removal).sum()

    def merge(batch: Batch) -> Tensor:
        with torch.no_grad():
            partial = net.branches(net.split(batch.x))
        return pose_loss(to_pixels(net.merge(partial)), batch.target)

    def everything(batch: Batch) -> Tensor:
        partial = net.branches(net.split(batch.x))
        merged = to_pixels(net.merge(partial))
        return psjnet_loss(merged, to_pixels(partial), batch.target, net.removal)

    branch, merger = list(net.branches.parameters()), list(net.merge.parameters())
    steps = [Stage(0.4, [branch], branches), Stage(0.2, [merger], merge)]
    return [s for s in steps if s.groups[0]] + [Stage(0.4, [[*branch, *merger]], everything)]


def batches(num_samples: int, size: int, rng: torch.Generator) -> Sequence[Tensor]:
    """Samples of each batch of an epoch, in a new order; the odd ones at its end are left out."""
    size = min(size, num_samples)
    order = torch.randperm(num_samples, generator=rng)
    return order[: num_samples - num_samples % size].split(size)


def fit(
    net: nn.Module,
    source: Epochs,
    target: Tensor,
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
        source: Gives inputs ``[n, J, C]`` and what is visible ``[n, J]``, once an epoch.
        target: Wanted (u, v, d), u and v in pixels ``[n, J, 3]``.
        how: Which joints are hidden from the net.
        rate: The highest learning rate.
        epochs: Passes over the samples, all stages together.
        batch_size: Samples in a batch.
        rng: Where the order of samples and all that is drawn in training come from.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    for stage in stages(net):
        length = max(1, round(stage.share * epochs))
        steps = length * max(1, len(target) // batch_size)
        optimizer = torch.optim.Adam(chain(*stage.groups), lr=rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
        for _ in range(length):
            x, visible = source(rng)
            for some in batches(len(target), batch_size, rng):
                optimizer.zero_grad()
                inputs = hide(x[some], visible[some], how, rng)
                loss = stage.loss(Batch(inputs, target[some], visible[some], rng))
                loss.backward()
                for group in stage.groups:
                    nn.utils.clip_grad_norm_(group, MAX_NORM)
                optimizer.step()
                schedule.step()
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of {net} is {loss.item()} at rate {rate}")
