"""Launch the kernels: how large the tiles are, how many programs run, what they need."""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.program import program


class Tiling(NamedTuple):
    """How a kernel is cut.

    Args:
        block: Samples a program takes at a time; a power of two, 16 or more.
        tile: Columns of a tile; a power of two, 16 or more.
        warps: Warps of a program.
    """

    block: int
    tile: int
    warps: int


FEW = Tiling(block=16, tile=64, warps=4)
"""With few samples each program should be quick ..."""
MANY = Tiling(block=64, tile=64, warps=8)
"""... and with many, take the table from the caches for more of them."""
REDUCE = Tiling(block=64, tile=64, warps=8)
"""The sums over the samples, in tiles as large as what they sum."""
MANY_BLOCKS = 512
"""Blocks of samples, over all branches, from which on there are many."""
PROGRAMS = 512
"""How many programs the forward pass has at most, each with a scratch."""
SAMPLES = 2**16
"""How many samples, over all branches, the backward pass takes at a time, for its scratch."""


def forward(x: Tensor, table: Tensor, plan: Plan) -> Tensor:
    """Run the forward kernel on ``[B, N, W]`` and ``[N, T]``, both contiguous."""
    batch, branches, _ = x.shape
    out = x.new_empty(batch, branches, plan.widths[-1])
    if not batch:
        return out
    from handgraph.nn.kernels import walk

    tiling = _tiling(batch, branches)
    lists = program(plan, tiling.tile, x.device)
    grid = min(-(-batch // tiling.block), max(PROGRAMS // branches, 1)), branches
    scratch = x.new_empty(*grid, tiling.block, lists.half * tiling.tile)
    with torch.cuda.device_of(x):
        walk.forward[grid](
            x, table, out, scratch, lists.tiles, lists.terms,
            batch, branches, plan.in_width, plan.widths[-1], table.shape[1],
            len(lists.tiles), lists.out, lists.half, **_options(x, tiling),
        )  # fmt: skip
    return out


def backward(grad: Tensor, x: Tensor, table: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Run the backward kernels: the gradients of ``[B, N, W]`` and ``[N, T]``."""
    grad_x = torch.empty_like(x)
    if not len(x):
        return grad_x, torch.zeros_like(table)
    size = max(SAMPLES // x.shape[1], 1)
    pieces = zip(grad.split(size), x.split(size), grad_x.split(size), strict=True)
    grad_table = reduce(Tensor.add_, (_backward(*piece, table, plan) for piece in pieces))
    return grad_x, grad_table.to(table.dtype)


def _backward(grad: Tensor, x: Tensor, grad_x: Tensor, table: Tensor, plan: Plan) -> Tensor:
    """Write the gradient of x, and return that of the table."""
    from handgraph.nn.kernels import walk

    batch, branches, _ = x.shape
    tiling = _tiling(batch, branches)
    lists = program(plan, tiling.tile, x.device)
    blocks, step = -(-batch // tiling.block), 2 * lists.half
    rows = blocks * tiling.block
    scratch = x.new_empty(branches, rows, step * tiling.tile)
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    grad_table = torch.empty_like(table, dtype=kind)
    with torch.cuda.device_of(x):
        walk.back[(blocks, branches)](
            x, table, grad, grad_x, scratch, *lists[:4],
            batch, branches, plan.in_width, plan.widths[-1], table.shape[1],
            len(lists.tiles), len(lists.back), lists.out, lists.half, step,
            **_options(x, tiling),
        )  # fmt: skip
        sizes, options = (
            (batch, rows, table.shape[1], step),
            _options(x, REDUCE._replace(tile=tiling.tile)),
        )
        walk.reduce_products[(len(lists.products), branches)](
            scratch, grad_table, lists.products, *sizes, **options
        )
        del options["OPERAND"], options["PRECISION"]
        walk.reduce_sums[(len(lists.sums), branches)](
            scratch, grad_table, lists.sums, *sizes, **options
        )
    return grad_table


def _tiling(batch: int, branches: int) -> Tiling:
    blocks = -(-batch // FEW.block) * branches
    return FEW if blocks < MANY_BLOCKS else MANY


def _options(x: Tensor, tiling: Tiling) -> dict[str, Any]:
    import triton.language as tl

    kind = getattr(tl, str(x.dtype).removeprefix("torch."))
    tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
    return {
        "BLOCK": tiling.block,
        "TILE": tiling.tile,
        "SUM": tl.float64 if kind == tl.float64 else tl.float32,
        "OPERAND": kind if x.is_cuda or kind == tl.float64 else tl.float32,  # no bfloat16 there
        "PRECISION": "tf32" if tf32 else "ieee",
        "num_warps": tiling.warps,
        "num_stages": 1,
        "enable_fp_fusion": True,  # the default, about which Triton 3.9 warns
    }
