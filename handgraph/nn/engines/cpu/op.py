"""Plans run by numba, as an autograd function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from handgraph.nn.engines.cpu import call, operators
from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.engines.reference.derivative import differentiate
from handgraph.nn.plan import Plan


def offer(plan: Plan, x: Tensor) -> str | Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``, or the reason of a refusal.

    Raises:
        TypeError: If the tensors of the plan differ from the input in dtype or device.
    """
    code, parts = outline(plan)
    made = operators.program_of(code, x, parts)
    if isinstance(made, str):
        return made
    call.check(x, parts)
    if torch.is_grad_enabled() and any(part.requires_grad for part in (x, *parts)):
        return partial(_Run.apply, code, x, *parts)
    if operators.is_observed() or any(part.is_neg() for part in parts):
        return lambda: operators.forward(code, x, parts)[0]
    return lambda: operators.run_program(made, x, parts)[0]


class _Run(Function):
    @staticmethod
    def forward(ctx: Any, code: tuple[int, ...], x: Tensor, *parts: Tensor) -> Tensor:  # noqa: ANN401
        out, fused = operators.forward(code, x, parts)
        ctx.code = code
        ctx.save_for_backward(x, fused, *parts)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, fused, *parts = ctx.saved_tensors
        if torch.is_grad_enabled() or torch._C._functorch.is_legacy_batchedtensor(grad):
            plan, needed = restore(ctx.code, parts), ctx.needs_input_grad[1:]
            return None, *differentiate(plan, parts, [x, *parts], needed, grad)
        return None, *operators.backward(ctx.code, grad, x, fused, parts)
