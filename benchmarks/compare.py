"""Measure and time several contestants at one input size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import (
    PHASES,
    Call,
    Contestant,
    check_engine,
    in_cuda_graph,
    is_compiled,
)
from benchmarks.measures import flops, operations, peak_memory, relative_error
from benchmarks.sizes import Core
from benchmarks.timing import Plan, cpu_stopwatch, cuda_stopwatch, flusher, interleave, summary

Row = dict[str, Any]
"""Results of one contestant: its name, and numbers or the reason why it has none."""


def compare(
    core: Core,
    contestants: Sequence[Contestant],
    phase: str,
    inputs: Sequence[Tensor],
    plan: Plan,
    graphs: bool = False,
) -> list[Row]:
    """Measure all contestants, then time them alternately, with warm and with flushed caches.

    Args:
        core: The function to compute; errors are relative to its result in double precision.
        contestants: The implementations to compare.
        phase: A key of :data:`PHASES`.
        inputs: Inputs of one size, used in rotation.
        plan: How long to time; a third of it is used for flushed caches.
        graphs: Whether each contestant is also captured in a CUDA graph.

    Returns:
        One row per contestant; a contestant that fails has a ``reason``.
    """
    calls: dict[str, Call] = {}
    rows: list[Row] = []
    for contestant in contestants:
        if phase == "train" and not contestant.trains:
            continue
        row, call = _measure(core, contestant, phase, inputs[0])
        rows.append(row)
        if call is not None:
            calls[contestant.name] = call
            if graphs:
                rows.append(_capture(contestant, call, inputs[0], calls))
    _time(rows, calls, inputs, plan)
    return rows


def _measure(core: Core, contestant: Contestant, phase: str, x: Tensor) -> tuple[Row, Call | None]:
    row: Row = {"name": contestant.name, "same": contestant.same}
    call = PHASES[phase](contestant)
    try:
        check_engine(contestant, x)
        if contestant.counted:
            row |= _count(contestant, call, x)
        if contestant.same:
            row["error"] = relative_error(contestant, core, x, phase)
    except (RuntimeError, MemoryError) as error:  # out of memory, or compilation failed
        return row | {"reason": _reason(error)}, None
    return row, call


def _count(contestant: Contestant, call: Call, x: Tensor) -> Row:
    found: Row = {"peak_bytes": peak_memory(call, x)}
    if x.device.type == "cuda" or not is_compiled(contestant):  # compiled code hides operations
        found["operations"] = operations(call, x)
    uncounted = contestant.engine == "numba" and not contestant.trains  # folded: calls no operators
    if contestant.same and not uncounted:  # sparse products count as dense ones
        found["flops"] = flops(call, x)
    return found


def _capture(contestant: Contestant, call: Call, x: Tensor, calls: dict[str, Call]) -> Row:
    name = f"{contestant.name}, CUDA graph"
    row: Row = {"name": name, "same": contestant.same}
    try:
        calls[name] = in_cuda_graph(call, x)
    except RuntimeError as error:
        row["reason"] = _reason(error)
    return row


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:100]}"


def _time(
    rows: Sequence[Row], calls: dict[str, Call], inputs: Sequence[Tensor], plan: Plan
) -> None:
    device = inputs[0].device
    stopwatch = cuda_stopwatch if device.type == "cuda" else cpu_stopwatch
    cold_plan = replace(plan, budget=plan.budget / 3, rounds=max(plan.rounds // 3, 3))
    hot = interleave(calls, inputs, stopwatch, plan)
    cold = interleave(calls, inputs, stopwatch, cold_plan, before=flusher(device))
    for row in rows:
        if row["name"] in calls:
            row |= {"hot": summary(hot[row["name"]]), "cold": summary(cold[row["name"]])}


def too_large(
    contestants: Sequence[Contestant],
    before: Sequence[Row],
    growth: float,
    seconds: float,
    gigabytes: float,
) -> tuple[list[Contestant], list[Row]]:
    """Skip contestants that would exceed a limit, extrapolating from the previous size.

    Args:
        contestants: The implementations to compare.
        before: Rows of the previous size; empty at the first size.
        growth: Ratio of this input size to the previous one.
        seconds: Maximum time of a call.
        gigabytes: Maximum memory of a call.

    Returns:
        The remaining contestants, and a row with a ``reason`` for each skipped one.
    """
    last = {row["name"]: row for row in before}
    stay, rows = [], []
    for contestant in contestants:
        reason = _excess(last.get(contestant.name, {}), growth, seconds, gigabytes)
        if reason is None:
            stay.append(contestant)
        else:
            rows.append({"name": contestant.name, "same": contestant.same, "reason": reason})
    return stay, rows


def _excess(last: Row, growth: float, seconds: float, gigabytes: float) -> str | None:
    if "reason" in last:
        return str(last["reason"])
    if "hot" in last and growth * last["hot"]["median"] > seconds:
        return f"left out: about {growth * last['hot']['median']:.2g} s a call"
    if growth * last.get("peak_bytes", 0) > 1e9 * gigabytes:
        return f"left out: about {growth * last['peak_bytes'] / 1e9:.2g} GB a call"
    return None


def to_device(contestants: Sequence[Contestant], device: torch.device) -> list[Contestant]:
    """Move the modules of all contestants."""
    return [c._replace(module=c.module.to(device)) for c in contestants]
