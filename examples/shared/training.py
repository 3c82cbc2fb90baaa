"""The training loop of the examples: batches, settings, and steps with clipped gradients."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm import tqdm

MAX_NORM = 1.0  # of gradients; without clipping, some seeds of graph U-Nets collapse


def one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Raise the rate as a cosine over 30 % of the steps, then lower it to almost 0."""
    return OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=steps + 1)


def warm_cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Raise the rate linearly over 5 % of the steps, then lower it as a cosine to 1 %."""
    rise = max(1, round(0.05 * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        fall = min(1.0, (step - rise) / max(1, steps - rise))
        return 0.01 + 0.99 * (1 + math.cos(math.pi * fall)) / 2

    return LambdaLR(optimizer, factor)


@dataclass(frozen=True)
class Recipe:
    """Settings of a training loop with AdamW; without weight decay, it is Adam."""

    rate: float  # the highest learning rate
    batch_size: int = 256
    weight_decay: float = 0.0
    schedule: Callable[[Optimizer, int], LRScheduler] = one_cycle  # of the rate
    fused: bool | None = None  # update all parameters in one kernel; rounds differently

    def start(
        self, groups: Iterable[Iterable[nn.Parameter]], steps: int
    ) -> tuple[Optimizer, LRScheduler]:
        """Return the optimiser and its schedule; each group of parameters is clipped by itself."""
        parameters = [{"params": list(group)} for group in groups]
        options = {"weight_decay": self.weight_decay, "fused": self.fused}
        optimizer = AdamW(parameters, self.rate, **options)
        return optimizer, self.schedule(optimizer, steps)


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
    recipe: Recipe,
    rng: torch.Generator | None = None,
) -> None:
    """Minimize ``loss(net, *batch)`` over batches of all tensors."""
    number, size = len(samples[0]), recipe.batch_size
    steps = epochs * math.ceil(number / size)
    order = tqdm(batches(number, size, epochs, rng), "training", steps, leave=False)
    losses = (loss(net, *(values[some] for values in samples)) for some in order)
    minimize(losses, *recipe.start([net.parameters()], steps))


def minimize(
    losses: Iterable[Tensor],
    optimizer: Optimizer,
    schedule: LRScheduler,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> None:
    """Take an optimiser step for each loss, before the next loss is computed.

    Raises:
        FloatingPointError: If a loss or a gradient is not finite; no parameter is changed then.
    """
    for loss in losses:
        optimizer.zero_grad()
        backward(loss)
        clip(loss, optimizer)
        optimizer.step()
        schedule.step()


def clip(loss: Tensor, optimizer: Optimizer) -> None:
    """Clip the gradient of each parameter group to ``MAX_NORM``; raise if it is not finite."""
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        if not (loss.detach() + norm).isfinite():
            raise FloatingPointError(f"the gradient has norm {norm}, the loss is {loss.item()}")
        clip_grads_with_norm_(parameters, MAX_NORM, norm)
