"""Launch the kernels: how large the blocks are, how many programs run, what they need."""

from __future__ import annotations

from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan
from handgraph.nn.kernels.program import program


class Tiling(NamedTuple):
    """How a kernel is cut.

    Args:
        block: Samples a program takes at a time; a power of two, 16 or more.
        warps: Warps of a program.
        stages: How far the loads of a product run ahead of it; 1 for not at all.
        quick: Whether it hastens at the price of registers: the three products of TF32 summed
            apart, so that none waits for another, and activations loaded ahead without stages.
    """

    block: int
    warps: int
    stages: int
    quick: bool = False


class Net(NamedTuple):
    """A chain, its table, and which column of what comes before each of its inputs is, or -1."""

    plan: Plan
    table: Tensor
    source: Tensor


FEW = Tiling(block=16, warps=8, stages=1, quick=True)
"""With few samples each program should be quick ..."""
MANY = Tiling(block=64, warps=4, stages=2)
"""... and with many, take the table from the caches for more of them."""
REDUCE = Tiling(block=64, warps=4, stages=3)
"""The sums over the samples."""
NARROW = Tiling(block=32, warps=8, stages=1, quick=True)
REDUCE_NARROW = Tiling(block=32, warps=4, stages=2)
"""The same where matrix units take what they multiply from registers: 64 are too many."""
WIDE_MAJORS = (9, 10)
"""Compute capabilities whose matrix units read it from shared memory: Hopper, Blackwell's B200."""
PRECISION = {"none": "tf32x3", "ieee": "ieee", "tf32": "tf32"}
"""What PyTorch's switch means: by default products of float32 are three of TF32, and exact to
rounding."""
MANY_BLOCKS = 265
"""Blocks of few samples, over all branches, from which on there are many: a large GPU's 132
multiprocessors then have more than two each, which take longer by the compiler's cycles."""
PROGRAMS = 512
"""How many programs the forward pass has at most, each with a scratch."""
MAX_BRANCHES, MAX_TABLE = 2**16 - 1, 2**31 - 1
"""CUDA starts no more programs side by side, and the kernels count in 32 bits within a table."""
SAMPLES = 2**16
"""How many samples, over all branches, the backward pass takes at a time, for its scratch."""


def forward(x: Tensor, table: Tensor, plan: Plan) -> Tensor:
    """Run the forward kernel on ``[B, N, W]`` and ``[N, T]``, both contiguous."""
    batch, branches, _ = x.shape
    out = x.new_empty(batch, branches, plan.widths[-1])
    if not x.numel():
        return out
    from handgraph.nn.kernels import walk

    tiling = _tiling(x, batch, branches)
    lists = program(plan, x.device)
    grid = _grid(-(-batch // tiling.block), branches)
    scratch = x.new_empty(*grid, tiling.block, lists.half * plan.tile)
    with torch.cuda.device_of(x):
        walk.forward[grid](
            x, table, out, scratch, lists.tiles, lists.terms,
            batch, branches, plan.in_width, plan.widths[-1], table.shape[1],
            len(lists.products), len(lists.tiles), lists.out, lists.half,
            **_options(x, plan, tiling),
        )  # fmt: skip
    return out


def core(x: Tensor, branches: Net, merger: Net) -> Tensor:
    """Run the branches and the merger in one kernel, ``[B, F]`` to ``[B, W']``, all contiguous."""
    batch, (plan, table, source), count = len(x), branches, len(branches.table)
    out = x.new_empty(batch, merger.plan.widths[-1])
    if not batch:
        return out
    from handgraph.nn.kernels import walk

    tiling = _tiling(x, batch, count)
    lists, last = program(plan, x.device), program(merger.plan, x.device)
    blocks, step = -(-batch // tiling.block), max(lists.half, last.half)
    grid = _grid(blocks, count)
    scratch = x.new_empty(*grid, tiling.block, step * plan.tile)
    middle = x.new_empty(batch, merger.plan.in_width)
    arrived = source.new_zeros(blocks, dtype=torch.int32)
    with torch.cuda.device_of(x):
        walk.core[grid](
            x, source, table, middle, merger.source, merger.table, out, scratch, arrived,
            lists.tiles, lists.terms, last.tiles, last.terms,
            batch, count, x.shape[1], plan.in_width, plan.widths[-1], merger.plan.widths[-1],
            table.shape[1], len(lists.products), len(lists.tiles), lists.out,
            len(last.products), len(last.tiles), last.out, step,
            **_options(x, plan, tiling),
        )  # fmt: skip
    return out


def backward(grad: Tensor, x: Tensor, table: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Run the backward kernels: the gradients of ``[B, N, W]`` and ``[N, T]``."""
    grad_x = torch.empty_like(x)
    if not x.numel():
        return grad_x, torch.zeros_like(table)
    size = max(SAMPLES // x.shape[1], 1)
    pieces = zip(grad.split(size), x.split(size), grad_x.split(size), strict=True)
    grad_table = reduce(Tensor.add_, (_backward(*piece, table, plan) for piece in pieces))
    return grad_x, grad_table.to(table.dtype)


def _backward(grad: Tensor, x: Tensor, grad_x: Tensor, table: Tensor, plan: Plan) -> Tensor:
    """Write the gradient of x, and return that of the table."""
    from handgraph.nn.kernels import walk_back

    batch, branches, _ = x.shape
    tiling = _tiling(x, batch, branches)
    lists = program(plan, x.device)
    blocks, step = -(-batch // tiling.block), 2 * lists.half
    rows = blocks * tiling.block
    scratch = x.new_empty(branches, rows, step * plan.tile)
    grad_table = torch.empty_like(table, dtype=sum_dtype(x))
    with torch.cuda.device_of(x):
        walk_back.back[(blocks, branches)](
            x, table, grad, grad_x, scratch, *lists[:4],
            batch, branches, plan.in_width, plan.widths[-1], table.shape[1],
            len(lists.products), len(lists.tiles), len(lists.back), lists.out, lists.half, step,
            **_options(x, plan, tiling),
        )  # fmt: skip
        options = _options(x, plan, REDUCE if _is_wide(x.device) else REDUCE_NARROW)
        del options["QUICK"]
        walk_back.reduce[(len(lists.products) + len(lists.tiles), branches)](
            scratch, grad_table, lists.products, lists.tiles,
            batch, rows, table.shape[1], step, len(lists.products), lists.half, **options,
        )  # fmt: skip
    return grad_table


def _grid(blocks: int, branches: int) -> tuple[int, int]:
    return min(blocks, max(PROGRAMS // branches, 1)), branches


def _tiling(x: Tensor, batch: int, branches: int) -> Tiling:
    is_few = -(-batch // FEW.block) * branches < MANY_BLOCKS
    if is_few or _fills_registers(_operand(x)):
        return FEW
    return MANY if _is_wide(x.device) else NARROW


def _fills_registers(operand: torch.dtype) -> bool:
    """Whether its products are not those of matrix units, so that few samples are many numbers."""
    return operand.itemsize >= 4 and precision(operand) == "ieee"


@cache
def _is_wide(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    major: int = torch.cuda.get_device_properties(device).major
    return major in WIDE_MAJORS


def _options(x: Tensor, plan: Plan, tiling: Tiling) -> dict[str, Any]:
    operand = _operand(x)
    return {
        "BLOCK": tiling.block,
        "TILE": plan.tile,
        "QUICK": tiling.quick,
        "SUM": triton_dtype(sum_dtype(x)),
        "OPERAND": triton_dtype(operand),
        "PRECISION": precision(operand),
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
        "enable_fp_fusion": True,  # the default, about which Triton 3.9 warns
    }


def _operand(x: Tensor) -> torch.dtype:
    """The dtype of products: Triton's interpreter has none of bfloat16."""
    return x.dtype if x.is_cuda else sum_dtype(x)


def sum_dtype(x: Tensor) -> torch.dtype:
    """The dtype of sums over its entries."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@cache
def triton_dtype(dtype: torch.dtype) -> Any:  # noqa: ANN401
    """What Triton calls it."""
    import triton.language as tl

    return getattr(tl, str(dtype).removeprefix("torch."))


def precision(dtype: torch.dtype = torch.float32) -> str:
    """How the kernels multiply numbers of a dtype; the switch is for float32."""
    if dtype != torch.float32:
        return "ieee"
    return PRECISION[torch.backends.cuda.matmul.fp32_precision]
