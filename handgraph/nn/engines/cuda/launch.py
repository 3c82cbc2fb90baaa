"""Launch the kernels: grids, options and scratch memory."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from handgraph.nn.engines.cuda.program import Program
from handgraph.nn.engines.cuda.tiles import Lists, lists

FEW = {"BLOCK": 16, "num_warps": 8, "num_stages": 2}
MANY = {"BLOCK": 32, "num_warps": 8, "num_stages": 2}
"""Samples per block, warps and pipeline stages of a program. For few samples, small blocks reduce
the latency. For many samples, large blocks read the table less often."""
MANY_BLOCKS = 265
"""Smallest number of blocks of 16 for ``MANY``: two per multiprocessor of a large GPU."""
PROGRAMS = 512
"""Largest number of programs of the forward pass. Each has its own scratch memory."""
SAMPLES = 2**14
"""Number of samples, over all branches, whose activations the backward pass holds at a time."""
PRECISION = {"none": "tf32x3", "ieee": "ieee", "tf32": "tf32"}
"""Precision of float32 products for each setting of PyTorch; exact to rounding by default."""


def forward(x: Tensor, table: Tensor, program: Program) -> Tensor:
    """Run the forward kernel on ``[B, F]`` and ``[N, T]``, both contiguous."""
    from handgraph.nn.engines.cuda import walk

    todo = lists(program, x.device)
    options = _options(x, program)
    grid = min(-(-len(x) // options["BLOCK"]), max(PROGRAMS // len(table), 1)), len(table)
    scratch = x.new_empty(*grid, options["BLOCK"], todo.half * program.tile)
    out = x.new_empty(len(x), program.out_width)
    with torch.cuda.device_of(x):
        walk.forward[grid](
            x, todo.columns, table, out, scratch, todo.tiles, todo.terms,
            *_sizes(x, table, program, todo), todo.out, todo.half, **options,
        )  # fmt: skip
    return out


def backward(
    grad: Tensor, x: Tensor, table: Tensor, program: Program, with_table: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``[B, F]`` and ``[N, T]``; the second is empty if not needed."""
    size = max(SAMPLES // len(table), 1)
    pieces = zip(grad.split(size), x.split(size), strict=True)
    found = [_piece(*piece, table, program, with_table) for piece in pieces]
    of_table = reduce(Tensor.add_, (of_table for _, of_table in found))
    return torch.cat([of_x for of_x, _ in found]), of_table.to(table.dtype)


def _piece(
    grad: Tensor, x: Tensor, table: Tensor, program: Program, with_table: bool
) -> tuple[Tensor, Tensor]:
    from handgraph.nn.engines.cuda import walk

    todo = lists(program, x.device)
    options = _options(x, program)
    grid = -(-len(x) // options["BLOCK"]), len(table)
    scratch = x.new_empty(len(table), grid[0] * options["BLOCK"], 2 * todo.half, program.tile)
    read = x.new_empty(len(x), len(table) * todo.in_width)
    with torch.cuda.device_of(x):
        walk.backward[grid](
            x, todo.columns, table, grad, read, scratch, *todo[:4],
            *_sizes(x, table, program, todo), len(todo.back), todo.out, todo.half, 2 * todo.half,
            **options,
        )  # fmt: skip
    of_table = _of_table(scratch[:, : len(x)], todo) if with_table else table.new_empty(0)
    return _of_x(read, x.shape[1], todo), of_table


def _of_x(read: Tensor, width: int, todo: Lists) -> Tensor:
    """Return the gradient of the input from that of the columns that are read."""
    if todo.columns is None:
        return read
    index = todo.columns.flatten()
    out = read.new_zeros(len(read), width + 1)  # one more column for index -1
    return out.index_add_(1, index.where(index >= 0, width), read)[:, :width]


def _of_table(scratch: Tensor, todo: Lists) -> Tensor:
    """Return the gradients of all matrix parts and biases, in float32 for later sums."""
    acts, grads = (scratch.index_select(2, i).transpose(1, 2) for i in todo.products.unbind(1))
    biases = scratch.index_select(2, todo.tiles[:, 0] + todo.half).sum(1)
    return torch.cat([(grads.mT @ acts).flatten(1), biases.flatten(1)], dim=1).float()


def _sizes(x: Tensor, table: Tensor, program: Program, todo: Lists) -> tuple[int, ...]:
    """Return the size arguments of both kernels, from ``batch`` to ``num_tiles``."""
    x_branch = todo.in_width if todo.columns is None else 0
    widths = x.shape[1], x_branch, todo.in_width, program.widths[-1], table.shape[1]
    return len(x), len(table), *widths, len(todo.products), len(todo.tiles)


def _options(x: Tensor, program: Program) -> dict[str, Any]:
    import triton.language as tl

    operand = x.dtype if x.is_cuda else torch.float32  # the interpreter's only dtype
    switch = PRECISION[torch.backends.cuda.matmul.fp32_precision]
    is_few = -(-len(x) // FEW["BLOCK"]) * program.branches < MANY_BLOCKS
    takes_registers = operand == torch.float32 and switch == "ieee"
    return {
        "TILE": program.tile,
        "OPERAND": getattr(tl, str(operand).removeprefix("torch.")),
        "PRECISION": switch if operand == torch.float32 else "ieee",
        "enable_fp_fusion": True,  # the default; Triton 3.9 warns about it
        **(FEW if is_few or takes_registers else MANY),
    }
