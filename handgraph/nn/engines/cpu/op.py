"""Plans run by numba, as an autograd function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from handgraph.nn.engines import reference
from handgraph.nn.engines.conditions import observed
from handgraph.nn.engines.cpu import call
from handgraph.nn.engines.cpu.program import Program
from handgraph.nn.engines.cpu.programs import program_of
from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.plan import Plan


def offer(plan: Plan, x: Tensor) -> str | Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``, or the reason of a refusal.

    Raises:
        TypeError: If the tensors of the plan differ from the input in dtype or device.
    """
    code, parts = outline(plan)
    parts = [part.resolve_neg() for part in parts]
    program = program_of(code, x, parts)
    if isinstance(program, str):
        return program
    call.check(x, parts)
    if torch.is_grad_enabled() and any(part.requires_grad for part in (x, *parts)):
        return partial(_Run.apply, program, code, x, *parts)
    return lambda: _forward(program, x, parts)[0]


def _forward(program: Program, x: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the output of a plan, and its shared values."""
    shared = x.new_empty(x.shape[0], program.shared)
    rows = [shared, *_in_rows(program, parts)]  # alive until the call returns
    return call.forward(program, x, call.place(program.slots, rows), parts), shared


def _in_rows(program: Program, parts: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors, with copies of those that compiled code cannot read."""
    return [part.contiguous() if n in program.copied else part for n, part in enumerate(parts)]


class _Run(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        program: Program,
        code: tuple[int, ...],
        x: Tensor,
        *parts: Tensor,
    ) -> Tensor:
        out, shared = _forward(program, x, parts)
        ctx.code = code
        ctx.save_for_backward(x, shared, *parts)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, shared, *parts = ctx.saved_tensors
        if _needs_operations(grad):
            needed = ctx.needs_input_grad[2:]
            return None, None, *_differentiate(ctx.code, (x, *parts), needed, grad)
        program = cast("Program", program_of(ctx.code, x, parts))  # hooks may change the strides
        rows = _in_rows(program, parts)
        return None, None, *call.backward(program, grad, x, shared.contiguous(), rows)


def _needs_operations(grad: Tensor) -> bool:
    """Return whether the derivative is differentiated, batched or observed."""
    batched = torch._C._functorch.is_legacy_batchedtensor(grad)
    return torch.is_grad_enabled() or batched or observed() is not None


@torch.enable_grad()
def _differentiate(
    code: tuple[int, ...], inputs: Sequence[Tensor], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """Compute the needed gradients of the input and the tensors of a plan by the reference."""
    # a tensor may depend on another one, as a scale on an adjacency; their views do not
    x, *parts = views = [tensor.view_as(tensor) for tensor in inputs]
    out = reference.run(restore(code, parts), x)
    wanted = [view for view, need in zip(views, needed, strict=True) if need]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]
