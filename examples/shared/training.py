"""Training of the examples: batches, and optimiser steps with clipped gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

MAX_NORM = 1.0
"""Largest norm of gradients; without clipping, some seeds of graph U-Nets collapse."""


def batches(
    num_samples: int, size: int, epochs: int, rng: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yield the sample indices of each batch, in a new order in each epoch."""
    for _ in range(epochs):
        yield from torch.randperm(num_samples, generator=rng).split(size)


def train(
    net: nn.Module,
    loss: Callable[..., Tensor],
    samples: tuple[Tensor, ...],
    epochs: int,
    rate: float,
    size: int = 256,
    rng: torch.Generator | None = None,
) -> None:
    """Minimize ``loss(net, *batch)`` over batches of all tensors."""
    steps = epochs * -(-len(samples[0]) // size)
    order = tqdm(batches(len(samples[0]), size, epochs, rng), "training", steps, leave=False)
    found = (loss(net, *(values[some] for values in samples)) for some in order)
    minimize(found, [net.parameters()], rate, steps)


def minimize(
    losses: Iterable[Tensor],
    groups: Iterable[Iterable[nn.Parameter]],
    rate: float,
    steps: int,
    **options: bool,
) -> None:
    """Train groups of parameters by Adam with a one-cycle rate.

    Args:
        losses: Generator that computes one loss per step.
        groups: Groups of parameters; the gradients of each group are clipped separately.
        rate: The highest learning rate.
        steps: Number of losses.
        options: Options of Adam.
    """
    optimizer = Adam([{"params": list(group)} for group in groups], lr=rate, **options)
    schedule = OneCycleLR(optimizer, rate, total_steps=steps + 1)
    for loss in losses:
        descend(loss, optimizer, schedule)


def descend(
    loss: Tensor,
    optimizer: Optimizer,
    schedule: LRScheduler | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> None:
    """Take one optimiser step, with the gradient of each parameter group clipped.

    Raises:
        FloatingPointError: If the loss or a gradient is not finite; no parameter is changed then.
    """
    optimizer.zero_grad()
    backward(loss)
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        if not (loss.detach() + norm).isfinite():
            raise FloatingPointError(f"the gradient has norm {norm}, the loss is {loss.item()}")
        clip_grads_with_norm_(parameters, MAX_NORM, norm)
    optimizer.step()
    if schedule is not None:
        schedule.step()
