"""Time several calls in turn, so that whatever disturbs the machine disturbs them all.

``torch.utils.benchmark`` times one statement after the other; what is added here is only that the
contestants take turns.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

Call = Callable[[Tensor], object]
Stopwatch = Callable[[Call, Sequence[Tensor]], float]
"""Call once with each input; the seconds that all calls took."""


@dataclass(frozen=True)
class Plan:
    """How long and how often to time.

    Args:
        rounds: How many blocks each contestant gets, one in each round.
        block: How many seconds a block should take at least: short calls are repeated.
        budget: How many seconds a contestant gets in all; slow ones get fewer rounds ...
        min_rounds: ... but at least so many.
        warm_up: How many calls come before.
        seed: Of the order in which they take turns.
    """

    rounds: int = 30
    block: float = 2e-3
    budget: float = 2.0
    min_rounds: int = 5
    warm_up: int = 3
    seed: int = 0


def cpu_stopwatch(call: Call, inputs: Sequence[Tensor]) -> float:
    """Time on the CPU."""
    start = perf_counter()
    for x in inputs:
        call(x)
    return perf_counter() - start


def cuda_stopwatch(call: Call, inputs: Sequence[Tensor]) -> float:
    """Time between two events on the GPU's stream, launches included where they are slower."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for x in inputs:
        call(x)
    end.record()
    torch.cuda.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1e3


def interleave(
    calls: Mapping[str, Call],
    inputs: Sequence[Tensor],
    stopwatch: Stopwatch,
    plan: Plan,
    before: Callable[[], object] | None = None,
) -> dict[str, list[float]]:
    """Time all calls, each once a round, in an order that is drawn anew in every round.

    Args:
        calls: What to time.
        inputs: What to call them with, in rotation.
        stopwatch: How to time.
        plan: How long and how often.
        before: Called before every single call, outside the time; without it, calls follow each
            other in blocks, after one that is not timed.

    Returns:
        Seconds a call, one number a round; fewer for those whose budget was spent.
    """
    repeats = {name: _repeats(call, inputs, stopwatch, plan) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    order = random.Random(plan.seed)
    for turn in range(plan.rounds):
        for name in order.sample(list(calls), len(calls)):
            if spent[name] >= plan.budget and len(times[name]) >= plan.min_rounds:
                continue
            count = 1 if before else repeats[name]
            block = [inputs[(turn + i) % len(inputs)] for i in range(count)]
            before() if before else stopwatch(calls[name], block[-1:])
            seconds = stopwatch(calls[name], block)
            spent[name] += seconds
            times[name].append(seconds / count)
    return times


def _repeats(call: Call, inputs: Sequence[Tensor], stopwatch: Stopwatch, plan: Plan) -> int:
    """Warm up, and find how many calls make a block."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < plan.warm_up and sum(seconds) < plan.budget):
        seconds.append(stopwatch(call, [inputs[len(seconds) % len(inputs)]]))
    return min(max(math.ceil(plan.block / max(min(seconds), 1e-9)), 1), 1000)


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles, in seconds, and the number of rounds."""
    low, median, high = quantiles(times, n=4, method="inclusive")
    return {"median": median, "q25": low, "q75": high, "rounds": len(times)}


def flusher(device: torch.device) -> Callable[[], None]:
    """What empties the caches: write more than they hold (256 MiB) and wait."""
    buffer = torch.empty(2**26, device=device)

    def flush() -> None:
        buffer.add_(1)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return flush
