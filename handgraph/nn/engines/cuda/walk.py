"""The Triton kernels: one program runs a whole chain for one branch and some samples.

The chain is passed as lists of integers (:mod:`handgraph.nn.engines.cuda.tiles`), so the kernels
are compiled once per dtype and tiling. Each program has its activations in scratch memory that fits
the caches. Threads of a program read values of other threads, so a barrier follows every store.

BLOCK is the number of samples per block, TILE the number of columns of a tile. Products have dtype
OPERAND and input precision PRECISION. Sums are in float32.
"""

# No ``from __future__ import annotations``: Triton reads the annotations of kernel arguments. An
# argument without one is a number, a pointer or a tensor.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl

SIZES = ("batch", "branches", "x_width", "x_branch", "in_width", "out_width", "num_parts")
LENGTHS = ("num_tiles", "num_back", "out_place", "half", "step")
POINTERS = ("x_ptr", "grad_ptr", "read_ptr")
kernel = triton.jit(do_not_specialize=SIZES + LENGTHS, do_not_specialize_on_alignment=POINTERS)
"""Compile once for all sizes, without specialisation on 1 or multiples of 16."""


@triton.jit
def walk(
    tiles, num_tiles, terms, scratch, table, num_parts, half, step, BACK: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute all tiles of a list in order.

    The scratch is ``[BLOCK, step * TILE]``. The biases follow the parts of the table. Each part is
    prefetched during the product with the previous one, also across tiles.
    """
    rows, columns = tl.arange(0, TILE)[:, None], tl.arange(0, TILE)[None, :]
    place = scratch + tl.arange(0, BLOCK)[:, None] * (step * TILE) + columns
    parts = table + (rows * TILE + columns if BACK else columns * TILE + rows)
    biases = table + num_parts * (TILE * TILE) + columns
    right = tl.load(parts + tl.load(terms + 1) * (TILE * TILE))
    for number in range(num_tiles):
        tile = tiles + 5 * number
        where, width, relu = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
        first, last = tl.load(tile + 3), tl.load(tile + 4)
        if BACK:
            gate = place + (where - half) * TILE
            opened = tl.load(gate, mask=columns < width * relu, other=1.0).to(tl.float32)
        else:
            added = tl.load(biases + number * TILE).to(tl.float32)
        out = tl.zeros((BLOCK, TILE), tl.float32)
        for term in range(first, last):
            left = tl.load(place + tl.load(terms + 2 * term) * TILE)
            ahead = tl.load(parts + tl.load(terms + 2 * term + 3) * (TILE * TILE))
            left, right = left.to(OPERAND), right.to(OPERAND)
            out = tl.dot(left, right, out, input_precision=PRECISION, out_dtype=tl.float32)
            right = ahead
        if BACK:
            out = tl.where(opened <= 0, 0.0, out)
        else:
            floor = tl.where(relu > 0, 0.0, float("-inf"))
            out = tl.maximum(out + added, floor, tl.PropagateNan.ALL)
        out = tl.where(columns < width, out, 0.0)  # infinity times 0 would be NaN
        tl.store(place + where * TILE, out.to(scratch.dtype.element_ty))
        tl.debug_barrier()


@triton.jit
def copy_in(source, source_step, index, width, number, scratch, step, BLOCK: tl.constexpr,
            TILE: tl.constexpr):  # fmt: skip
    """Copy ``number`` zero-padded rows into the scratch.

    It copies all columns, or those of an index, where -1 gives zeros.
    """
    rows, tile = tl.arange(0, BLOCK)[:, None], tl.arange(0, TILE)[None, :]
    place = scratch + rows * (step * TILE) + tile
    for start in range(0, width, TILE):
        columns = start + tile
        there = columns < width
        if index is not None:
            columns = tl.load(index + columns, mask=there, other=-1)
            there = columns >= 0
        there = there & (rows < number)
        value = tl.load(source + rows * source_step + columns, mask=there, other=0.0)
        tl.store(place + start, value)
    tl.debug_barrier()


@triton.jit
def copy_out(target, target_step, width, number, scratch, step, BLOCK: tl.constexpr,
             TILE: tl.constexpr):  # fmt: skip
    """Copy ``number`` rows out of the scratch."""
    rows, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, TILE)[None, :]
    place = scratch + rows * (step * TILE) + columns
    for start in range(0, width, TILE):
        there = (rows < number) & (start + columns < width)
        tl.store(target + rows * target_step + start + columns, tl.load(place + start), mask=there)
    tl.debug_barrier()


@kernel
def forward(
    x_ptr, columns_ptr, table_ptr, out_ptr, scratch_ptr, tiles_ptr, terms_ptr,
    batch, branches, x_width, x_branch, in_width, out_width, table_size, num_parts, num_tiles,
    out_place, step, BLOCK: tl.constexpr, TILE: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Run a chain: ``[B, x_width]`` to ``[B, N, out_width]``, blocks p, p + P, ... in program p."""
    first, branch = tl.program_id(0), tl.program_id(1)
    program = (first * branches + branch).to(tl.int64)
    scratch = scratch_ptr + program * (BLOCK * step * TILE)
    index = None if columns_ptr is None else columns_ptr + branch * in_width
    for block in range(first, tl.cdiv(batch, BLOCK), tl.num_programs(0)):
        row = tl.cast(block, tl.int64) * BLOCK
        copy_in(x_ptr + row * x_width + branch * x_branch, x_width, index, in_width, batch - row,
                scratch, step, BLOCK, TILE)  # fmt: skip
        walk(tiles_ptr, num_tiles, terms_ptr, scratch, table_ptr + branch * table_size, num_parts,
             0, step, False, BLOCK, TILE, OPERAND, PRECISION)  # fmt: skip
        copy_out(out_ptr + (row * branches + branch) * out_width, branches * out_width, out_width,
                 batch - row, scratch + out_place * TILE, step, BLOCK, TILE)  # fmt: skip


@kernel
def backward(
    x_ptr, columns_ptr, table_ptr, grad_ptr, read_ptr, scratch_ptr, tiles_ptr, terms_ptr,
    back_ptr, back_terms_ptr, batch, branches, x_width, x_branch, in_width, out_width, table_size,
    num_parts, num_tiles, num_back, out_place, half, step, BLOCK: tl.constexpr, TILE: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the input columns, ``[B, N, in_width]``, and the others to the scratch.

    The forward pass saves nothing. The activations are recomputed, and stored with the gradients in
    the scratch ``[N, R, step * TILE]``. R is B rounded up to whole blocks.
    """
    branch = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * BLOCK
    node = row * branches + branch
    table = table_ptr + branch * table_size
    scratch = scratch_ptr + (branch * tl.num_programs(0) * BLOCK + row) * (step * TILE)
    index = None if columns_ptr is None else columns_ptr + branch * in_width
    copy_in(x_ptr + row * x_width + branch * x_branch, x_width, index, in_width, batch - row,
            scratch, step, BLOCK, TILE)  # fmt: skip
    copy_in(grad_ptr + node * out_width, branches * out_width, None, out_width, batch - row,
            scratch + (half + out_place) * TILE, step, BLOCK, TILE)  # fmt: skip
    walk(tiles_ptr, num_tiles, terms_ptr, scratch, table, num_parts, half, step, False,
         BLOCK, TILE, OPERAND, PRECISION)  # fmt: skip
    walk(back_ptr, num_back, back_terms_ptr, scratch, table, num_parts, half, step, True,
         BLOCK, TILE, OPERAND, PRECISION)  # fmt: skip
    copy_out(read_ptr + node * in_width, branches * in_width, in_width, batch - row,
             scratch + half * TILE, step, BLOCK, TILE)  # fmt: skip
