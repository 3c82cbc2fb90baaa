"""The kernels as operators of PyTorch: ``handgraph::chain`` and ``handgraph::chain_backward``.

A program is passed as text, see :func:`~handgraph.nn.engines.cuda.program.encode`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Size, Tensor
from torch.utils.flop_counter import register_flop_formula

from handgraph.nn.engines.cuda import launch
from handgraph.nn.engines.cuda.program import decode, table_size


def _check(x: Tensor, table: Tensor, text: str) -> None:
    program = decode(text)
    expected = [program.branches, table_size(text)]
    if list(x.shape[1:]) != [program.in_width] or list(table.shape) != expected:
        raise ValueError(
            f"chain: expected x [B, {program.in_width}] and table {expected}, "
            f"got {list(x.shape)} and {list(table.shape)}"
        )
    if (x.dtype, x.device) != (table.dtype, table.device) or not x.is_floating_point():
        raise TypeError(
            f"chain: expected x and table of one floating dtype on one device, got {x.dtype} on "
            f"{x.device} and {table.dtype} on {table.device}"
        )
    if table.numel() >= 2**31 or len(table) >= 2**16:  # indices have 32 bits, grids 16
        raise ValueError(f"chain: expected less than 2^31 numbers in 2^16 rows, got {expected}")


@torch.library.custom_op(
    "handgraph::chain", mutates_args=(), schema="(Tensor x, Tensor table, str program) -> Tensor"
)
def chain(x: Tensor, table: Tensor, program: str) -> Tensor:
    """Run a program on ``[B, F]`` with a table ``[N, T]``, and return ``[B, F']``."""
    _check(x, table, program)
    return launch.forward(x.contiguous(), table.contiguous(), program)


@chain.register_fake
def _(x: Tensor, table: Tensor, program: str) -> Tensor:
    _check(x, table, program)
    return x.new_empty(x.shape[0], decode(program).out_width)


@torch.library.custom_op(
    "handgraph::chain_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, Tensor table, str program, bool with_table) -> "
    "(Tensor, Tensor)",
)
def chain_backward(
    grad: Tensor, x: Tensor, table: Tensor, program: str, with_table: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and, if ``with_table``, of the table."""
    _check(x, table, program)
    grad, x, table = grad.contiguous(), x.contiguous(), table.contiguous()
    return launch.backward(grad, x, table, program, with_table)


@chain_backward.register_fake
def _(grad: Tensor, x: Tensor, table: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), table.new_empty(table.shape if others[-1] else 0)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:  # noqa: ANN401
    x, table, ctx.program = inputs
    ctx.save_for_backward(x, table)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN401
    with_table = ctx.needs_input_grad[1]
    of_x, of_table = chain_backward(grad, *ctx.saved_tensors, ctx.program, with_table)
    return of_x, of_table if with_table else None, None


def _refuse(ctx: Any, *grads: Tensor) -> NoReturn:  # noqa: ANN401
    raise NotImplementedError("chain: for second derivatives, call engines.use('reference')")


chain.register_autograd(_differentiate, setup_context=_save)
chain_backward.register_autograd(_refuse)


@register_flop_formula([torch.ops.handgraph.chain])
def _flops(x: Size, table: Size, program: str, **options: object) -> int:
    sizes = decode(program)
    return 2 * x[0] * sizes.branches * sizes.entries(sizes.widths)


@register_flop_formula([torch.ops.handgraph.chain_backward])
def _flops_backward(grad: Size, *args: Any, **options: object) -> int:
    return _flops(*args[:3]) * (2 if args[3] else 1)
