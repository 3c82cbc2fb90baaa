"""Runs of plans as PyTorch operators, for profilers and FLOP counters.

``torch.ops.handgraph.run_plan`` and ``run_plan_backward``. An operator costs some microseconds, so
it is called only if a dispatch mode is active.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from handgraph.nn.engines.cpu import call
from handgraph.nn.engines.cpu.program import CHANNELS_FIRST, NODES, NODES_FIRST, SAME, Program
from handgraph.nn.engines.cpu.programs import program
from handgraph.nn.plan import Shape


def program_of(code: Sequence[int], x: Tensor, parts: Sequence[Tensor]) -> Program | str:
    """Return the program of an outline, or the reason why it has none."""
    strides = [(n, *part.stride()) for n, part in enumerate(parts) if not part.is_contiguous()]
    sizes = tuple([part.shape for part in parts])
    made = program(tuple(code), sizes, tuple(strides), Shape(*x.shape[:3]))
    if not isinstance(made, str):
        for slot, _, nodes in made.tables.vectors.tolist():
            if parts[slot - 1].shape != (x.shape[0], nodes, x.shape[3]):
                return "a scale or a gate is not [N, J', B]"
    return made


def forward(code: Sequence[int], x: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the output of a plan, and its fused maps."""
    if is_observed():
        out: tuple[Tensor, Tensor] = torch.ops.handgraph.run_plan(x, parts, code)
        return out
    return _forward(x, parts, code)


def is_observed() -> bool:
    """Return whether a dispatch mode is active."""
    return torch._C._len_torch_dispatch_stack() > 0


def backward(
    code: Sequence[int], grad: Tensor, x: Tensor, fused: Tensor, parts: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients of the input and of the tensors of a plan."""
    if is_observed():
        out: list[Tensor] = torch.ops.handgraph.run_plan_backward(grad, x, fused, parts, code)
        return out
    return _backward(grad, x, fused, parts, code)


def _forward(x: Tensor, parts: Sequence[Tensor], code: Sequence[int]) -> tuple[Tensor, Tensor]:
    parts = [part.resolve_neg() for part in parts]
    return run_program(_checked(code, x, parts), x, parts)


def run_program(made: Program, x: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Run a program on checked tensors, and return its output and its fused maps."""
    fused = x.new_empty(x.shape[0], made.fused)
    rows = [fused, *_in_rows(made, parts)]  # alive until the call returns
    return call.forward(made, x, call.place(made.slots, rows)), fused


def _backward(
    grad: Tensor, x: Tensor, fused: Tensor, parts: Sequence[Tensor], code: Sequence[int]
) -> list[Tensor]:
    parts = [part.resolve_neg() for part in parts]
    made = _checked(code, x, parts)
    if fused.shape != (x.shape[0], made.fused) or grad.shape != (*made.shapes[-1], x.shape[3]):
        raise ValueError(
            f"run_plan_backward: expected fused maps {[x.shape[0], made.fused]} and a gradient "
            f"{[*made.shapes[-1], x.shape[3]]}, got {list(fused.shape)} and {list(grad.shape)}"
        )
    call.check(x, [grad, fused])
    return call.backward(made, grad, x, fused.contiguous(), _in_rows(made, parts))


def _backward_apart(
    grad: Tensor, x: Tensor, fused: Tensor, parts: Sequence[Tensor], code: Sequence[int]
) -> list[Tensor]:
    """Return the gradients without shared memory, as operators require."""
    return [found.clone() for found in _backward(grad, x, fused, parts, code)]


def _checked(code: Sequence[int], x: Tensor, parts: Sequence[Tensor]) -> Program:
    made = _program(code, x, parts)
    call.check(x, parts)
    return made


def _program(code: Sequence[int], x: Tensor, parts: Sequence[Tensor]) -> Program:
    made = program_of(code, x, parts)
    if isinstance(made, str):
        raise ValueError(f"run_plan: {made}")
    return made


def _in_rows(made: Program, parts: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the tensors, with copies of those that compiled code cannot read."""
    if not made.copied:
        return parts
    return [part.contiguous() if n in made.copied else part for n, part in enumerate(parts)]


_LIBRARY = torch.library.Library("handgraph", "FRAGMENT")
_LIBRARY.define("run_plan(Tensor x, Tensor[] parts, int[] code) -> (Tensor, Tensor)")
_LIBRARY.define(
    "run_plan_backward(Tensor grad, Tensor x, Tensor fused, Tensor[] parts, int[] code) -> Tensor[]"
)
_LIBRARY.impl("run_plan", _forward, "CPU")
_LIBRARY.impl("run_plan_backward", _backward_apart, "CPU")


def _fake_forward(x: Tensor, parts: Sequence[Tensor], code: Sequence[int]) -> tuple[Tensor, Tensor]:
    made = _program(code, x, parts)
    return x.new_empty(*made.shapes[-1], x.shape[3]), x.new_empty(x.shape[0], made.fused)


def _fake_backward(
    grad: Tensor, x: Tensor, fused: Tensor, parts: Sequence[Tensor], code: Sequence[int]
) -> list[Tensor]:
    return [x.new_empty(x.shape), *(part.new_empty(part.shape) for part in parts)]


torch.library.register_fake("handgraph::run_plan", _fake_forward)
torch.library.register_fake("handgraph::run_plan_backward", _fake_backward)


@register_flop_formula(torch.ops.handgraph.run_plan)
def _flops(
    x: torch.Size, parts: Sequence[torch.Size], code: Sequence[int], *_: object, **__: object
) -> int:
    """Count two per multiplication, of the maps of terms and of the fused maps."""
    made = program(tuple(code), tuple(parts), (), Shape(*x[:3]))
    if isinstance(made, str):
        raise ValueError(f"run_plan: {made}")
    tables = made.tables
    fusing = sum(nodes * nodes * columns for _, nodes, _, columns, _ in tables.products.tolist())
    each = 0
    for kind, _, ins, inner, outs, channels, *_ in tables.terms.tolist():
        if kind in (NODES_FIRST, NODES):
            each += outs * ins * inner
        elif kind == CHANNELS_FIRST:
            each += outs * ins * channels
        if kind not in (NODES, SAME):
            each += (ins if kind == CHANNELS_FIRST else outs) * inner * channels
    return int(2 * x[0] * (fusing + x[3] * each))


@register_flop_formula(torch.ops.handgraph.run_plan_backward)
def _backward_flops(
    grad: torch.Size,
    x: torch.Size,
    fused: torch.Size,
    parts: Sequence[torch.Size],
    code: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    """Count the gradients of both factors of each product, without recomputation."""
    return 2 * _flops(x, parts, code)
