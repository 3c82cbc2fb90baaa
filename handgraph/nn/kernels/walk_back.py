"""The way back of the kernels: gradients of activations, then of the table.

The way back computes the activations anew, so that nothing is stored between the passes, and leaves
them beside the gradients in a larger scratch; from this, one program for each part of the table
sums up over the samples, in order.
"""

# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl

from handgraph.nn.kernels.products import add_product
from handgraph.nn.kernels.walk import bias, copy_in, copy_out, first_part, first_tile, kernel, walk


@kernel
def back(
    x_ptr, table_ptr, grad_ptr, grad_x_ptr, scratch_ptr, tiles_ptr, terms_ptr, back_ptr,
    back_terms_ptr, batch, branches, in_width, out_width, table_size, num_parts, num_tiles,
    num_back, out_place, half, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, QUICK: tl.constexpr, SUM: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of the input ``[B, N, W]``, and all activations and gradients in the scratch.

    The scratch ``[N, R, step * TILE]`` has R rows a branch, B filled up to whole blocks.
    """
    branch = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * BLOCK
    node = row * branches + branch
    table = table_ptr + branch * table_size
    scratch = scratch_ptr + (branch * tl.num_programs(0) * BLOCK + row) * (step * TILE)
    copy_in(x_ptr + node * in_width, branches * in_width, None, in_width, batch - row,
            scratch, step, BLOCK, TILE)  # fmt: skip
    copy_in(grad_ptr + node * out_width, branches * out_width, None, out_width, batch - row,
            scratch + (half + out_place) * TILE, step, BLOCK, TILE)  # fmt: skip
    walk(tiles_ptr, num_tiles, terms_ptr, scratch, table, num_parts, half, step, False,
          BLOCK, TILE, QUICK, SUM, OPERAND, PRECISION)  # fmt: skip
    walk(back_ptr, num_back, back_terms_ptr, scratch, table, num_parts, half, step, True,
          BLOCK, TILE, QUICK, SUM, OPERAND, PRECISION)  # fmt: skip
    copy_out(grad_x_ptr + node * in_width, branches * in_width, in_width, batch - row,
             scratch + half * TILE, step, BLOCK, TILE)  # fmt: skip


@kernel
def reduce(
    scratch_ptr, out_ptr, products_ptr, tiles_ptr, batch, padded, table_size, step, num_parts, half,
    BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of the table: of each part of its matrices, and behind them of each bias."""
    number, branch = tl.program_id(0), tl.program_id(1)
    place = first_tile(
        scratch_ptr + branch.to(tl.int64) * padded * (step * TILE), step, BLOCK, TILE
    )
    table = out_ptr + branch * table_size
    if number < num_parts:
        products = add_products(place, products_ptr + 2 * number, batch, step, BLOCK, TILE, SUM,
                                OPERAND, PRECISION)  # fmt: skip
        tl.store(first_part(table, TILE, True) + number * (TILE * TILE), products)
    else:
        tile = number - num_parts
        where = tl.load(tiles_ptr + 5 * tile) + half
        rows = add_rows(place + where * TILE, batch, step, BLOCK, TILE, SUM)
        tl.store(bias(table, num_parts, tile, TILE), rows)


@triton.jit
def add_products(
    place, product, batch, step, BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add up all samples for one part of a matrix, transposed."""
    left, right = tl.load(product) * TILE, tl.load(product + 1) * TILE
    out = tl.full((TILE, TILE), 0.0, SUM)
    for start in range(0, batch, BLOCK):
        rows = place + tl.cast(start, tl.int64) * (step * TILE)
        there = (start + tl.arange(0, BLOCK) < batch)[:, None]
        act = tl.load(rows + left, mask=there, other=0.0).to(OPERAND)
        grad = tl.load(rows + right, mask=there, other=0.0).to(OPERAND)
        out = add_product(out, tl.trans(grad), act, PRECISION)
    return out


@triton.jit
def add_rows(
    place, batch, step, BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr
):  # fmt: skip
    """Add up all samples of a tile."""
    out = tl.full((TILE,), 0.0, SUM)
    for start in range(0, batch, BLOCK):
        rows = place + tl.cast(start, tl.int64) * (step * TILE)
        there = (start + tl.arange(0, BLOCK) < batch)[:, None]
        out += tl.sum(tl.load(rows, mask=there, other=0.0).to(SUM), axis=0)
    return out
