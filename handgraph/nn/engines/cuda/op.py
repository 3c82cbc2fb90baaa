"""The kernels as an autograd function."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.autograd import Function

from handgraph.nn.engines.cuda import launch
from handgraph.nn.engines.cuda.program import Program


def chain(x: Tensor, table: Tensor, program: Program) -> Tensor:
    """Run a program on ``[B, F]`` with a table ``[N, T]``, and return ``[B, F']``."""
    if table.numel() >= 2**31 or len(table) >= 2**16:  # indices have 32 bits, grids 16
        found = list(table.shape)
        raise ValueError(f"chain: expected less than 2^31 numbers in 2^16 rows, got {found}")
    return cast("Tensor", _Chain.apply(x.contiguous(), table.contiguous(), program))


_REFUSED = "chain: for second or batched derivatives, call engines.use('reference')"


class _Chain(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, program: Program) -> Tensor:  # noqa: ANN401
        ctx.program = program
        ctx.save_for_backward(x, table)
        return launch.forward(x, table, program)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN401
        if torch._C._functorch.is_legacy_batchedtensor(grad):
            raise NotImplementedError(_REFUSED)
        x, table = ctx.saved_tensors
        with_table = ctx.needs_input_grad[1]
        args = grad.contiguous(), x, table, ctx.program, with_table
        of_x, of_table = _ChainBackward.apply(*args)
        return of_x, of_table if with_table else None, None


class _ChainBackward(Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return launch.backward(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> NoReturn:  # noqa: ANN401
        raise NotImplementedError(_REFUSED)
