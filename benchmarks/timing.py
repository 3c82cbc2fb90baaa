"""Time several calls alternately, so that a disturbance of the machine affects all of them.

``torch.utils.benchmark`` times one statement at a time.
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
"""Function that calls once with each input and returns the total seconds."""


@dataclass(frozen=True)
class Plan:
    """How long and how often to time.

    Args:
        rounds: Number of blocks per call, one in each round.
        block: Minimum seconds of a block; short calls are repeated.
        budget: Total seconds per call, after which it gets no further rounds.
        min_rounds: Minimum number of rounds, regardless of the budget.
        warm_up: Number of calls before the first block.
        seed: Seed of the order within the rounds.
    """

    rounds: int = 30
    block: float = 2e-3
    budget: float = 2.0
    min_rounds: int = 5
    warm_up: int = 3
    seed: int = 0


def cpu_stopwatch(call: Call, inputs: Sequence[Tensor]) -> float:
    """Return the seconds of the calls on the CPU."""
    start = perf_counter()
    for x in inputs:
        call(x)
    return perf_counter() - start


def cuda_stopwatch(call: Call, inputs: Sequence[Tensor]) -> float:
    """Return the seconds between two events on the GPU stream, including waits for launches."""
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
    """Time all calls once per round, in a random order that differs between rounds.

    Args:
        calls: The calls to time, by name.
        inputs: The inputs, used in rotation.
        stopwatch: Function that times a block.
        plan: How long to time.
        before: Function that runs before each timed call and is not timed. If ``None``, calls are
            timed in blocks, each after one call that is not timed.

    Returns:
        The seconds per call in each round; a call whose budget is spent has fewer rounds.
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
    """Warm up and return the number of calls per block."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < plan.warm_up and sum(seconds) < plan.budget):
        seconds.append(stopwatch(call, [inputs[len(seconds) % len(inputs)]]))
    return min(max(math.ceil(plan.block / max(min(seconds), 1e-9)), 1), 1000)


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Return median and quartiles in seconds, and the number of rounds."""
    low, median, high = quantiles(times, n=4, method="inclusive")
    return {"median": median, "q25": low, "q75": high, "rounds": len(times)}


def flusher(device: torch.device) -> Callable[[], None]:
    """Return a function that flushes the caches by writing 256 MiB, more than they hold."""
    buffer = torch.empty(2**26, device=device)

    def flush() -> None:
        buffer.add_(1)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return flush
