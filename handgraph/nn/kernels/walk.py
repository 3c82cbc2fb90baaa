"""The kernels in Triton: one program walks a whole chain for one branch and a block of samples.

What there is to do comes as lists of integers (:mod:`handgraph.nn.kernels.program`), so these few
lines serve every chain, and are compiled once for each dtype and tiling. Going forward, activations
stand in a scratch of the program's own, small enough for the caches. The way back computes them
anew, so that nothing is stored between the passes, and leaves them beside the gradients in a larger
scratch; from this, one program for each part of the table sums up over the samples, in order.

Threads of a program read what others of it wrote: a barrier stands wherever that begins. BLOCK is
the samples a program takes at a time, TILE the columns; sums are of dtype SUM, products of dtype
OPERAND and input precision PRECISION.
"""

# No postponed evaluation here: Triton reads the annotations of a kernel's arguments. One that has
# none is a number, a pointer or a tensor.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl


@triton.jit
def _place(scratch, step, BLOCK: tl.constexpr, TILE: tl.constexpr):
    """Pointers to the first tile of the scratch ``[BLOCK, step * TILE]``."""
    rows, columns = tl.arange(0, BLOCK), tl.arange(0, TILE)
    return scratch + rows[:, None] * (step * TILE) + columns[None, :]


@triton.jit
def _part(entry, TILE: tl.constexpr):
    """Offsets of a part of the table whose start, step, height and width stand at ``entry``."""
    tile = tl.arange(0, TILE)
    offset = tl.load(entry) + tile[:, None] * tl.load(entry + 1) + tile[None, :]
    mask = (tile < tl.load(entry + 2))[:, None] & (tile < tl.load(entry + 3))[None, :]
    return offset, mask


@triton.jit
def _walk(
    tiles, num_tiles, terms, scratch, table, step, BACK: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute all tiles of a list, one after the other."""
    columns = tl.arange(0, TILE)[None, :]
    place = _place(scratch, step, BLOCK, TILE)
    for number in range(num_tiles):
        tile = tiles + 9 * number
        bias = tl.load(
            table + tl.load(tile + 2) + columns, mask=columns < tl.load(tile + 3), other=0.0
        )
        out = tl.broadcast_to(bias.to(SUM), (BLOCK, TILE))
        for term in range(tl.load(tile + 7), tl.load(tile + 8)):
            left = tl.load(place + tl.load(terms + 5 * term) * TILE)
            offset, mask = _part(terms + 5 * term + 1, TILE)
            right = tl.load(table + offset, mask=mask, other=0.0).to(OPERAND)
            if BACK:
                right = tl.trans(right)
            out = tl.dot(left.to(OPERAND), right, out, input_precision=PRECISION, out_dtype=SUM)
        out = tl.where((out < 0) & (columns < tl.load(tile + 4)), 0.0, out)  # NaN stays NaN
        gate = tl.load(
            place + tl.load(tile + 5) * TILE, mask=columns < tl.load(tile + 6), other=1.0
        )
        out = tl.where(gate.to(SUM) <= 0, 0.0, out)
        out = tl.where(columns < tl.load(tile + 1), out, 0.0)  # infinity times 0 would be NaN
        tl.store(place + tl.load(tile) * TILE, out.to(scratch.dtype.element_ty))
        tl.debug_barrier()


@triton.jit
def _copy_in(source, source_step, width, number, scratch, step, BLOCK: tl.constexpr,
             TILE: tl.constexpr):  # fmt: skip
    """Copy ``number`` rows into the scratch, filled up with zeros."""
    rows, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, TILE)[None, :]
    place = _place(scratch, step, BLOCK, TILE)
    for start in range(0, width, TILE):
        there = (rows < number) & (start + columns < width)
        value = tl.load(source + rows * source_step + start + columns, mask=there, other=0.0)
        tl.store(place + start, value)
    tl.debug_barrier()


@triton.jit
def _copy_out(target, target_step, width, number, scratch, step, BLOCK: tl.constexpr,
              TILE: tl.constexpr):  # fmt: skip
    """Copy ``number`` rows out of the scratch."""
    rows, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, TILE)[None, :]
    place = _place(scratch, step, BLOCK, TILE)
    for start in range(0, width, TILE):
        there = (rows < number) & (start + columns < width)
        tl.store(target + rows * target_step + start + columns, tl.load(place + start), mask=there)
    tl.debug_barrier()


@triton.jit
def forward(
    x_ptr, table_ptr, out_ptr, scratch_ptr, tiles_ptr, terms_ptr,
    batch, branches, in_width, out_width, table_size, num_tiles, out_place, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """``[B, N, W]`` to ``[B, N, W']``; program p of P takes blocks p, p + P, ..."""
    first, branch = tl.program_id(0), tl.program_id(1)
    program = (first * branches + branch).to(tl.int64)
    table = table_ptr + branch * table_size
    scratch = scratch_ptr + program * (BLOCK * step * TILE)
    for block in range(first, tl.cdiv(batch, BLOCK), tl.num_programs(0)):
        row = tl.cast(block, tl.int64) * BLOCK
        node = row * branches + branch
        _copy_in(x_ptr + node * in_width, branches * in_width, in_width, batch - row,
                 scratch, step, BLOCK, TILE)  # fmt: skip
        _walk(tiles_ptr, num_tiles, terms_ptr, scratch, table, step, False,
              BLOCK, TILE, SUM, OPERAND, PRECISION)  # fmt: skip
        _copy_out(out_ptr + node * out_width, branches * out_width, out_width, batch - row,
                  scratch + out_place * TILE, step, BLOCK, TILE)  # fmt: skip


@triton.jit
def back(
    x_ptr, table_ptr, grad_ptr, grad_x_ptr, scratch_ptr, tiles_ptr, terms_ptr, back_ptr,
    back_terms_ptr, batch, branches, in_width, out_width, table_size, num_tiles, num_back,
    out_place, half, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of the input ``[B, N, W]``, and all activations and gradients in the scratch.

    The scratch ``[N, R, step * TILE]`` has R rows a branch, B filled up to whole blocks.
    """
    branch = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * BLOCK
    node = row * branches + branch
    table = table_ptr + branch * table_size
    scratch = scratch_ptr + (branch * tl.num_programs(0) * BLOCK + row) * (step * TILE)
    _copy_in(x_ptr + node * in_width, branches * in_width, in_width, batch - row,
             scratch, step, BLOCK, TILE)  # fmt: skip
    _copy_in(grad_ptr + node * out_width, branches * out_width, out_width, batch - row,
             scratch + (half + out_place) * TILE, step, BLOCK, TILE)  # fmt: skip
    _walk(tiles_ptr, num_tiles, terms_ptr, scratch, table, step, False,
          BLOCK, TILE, SUM, OPERAND, PRECISION)  # fmt: skip
    _walk(back_ptr, num_back, back_terms_ptr, scratch, table, step, True,
          BLOCK, TILE, SUM, OPERAND, PRECISION)  # fmt: skip
    _copy_out(grad_x_ptr + node * in_width, branches * in_width, in_width, batch - row,
              scratch + half * TILE, step, BLOCK, TILE)  # fmt: skip


@triton.jit
def reduce_products(
    scratch_ptr, grad_ptr, products_ptr, batch, padded, table_size, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradients of matrices: one program adds up all samples for one part of one of them."""
    branch, entry = tl.program_id(1), products_ptr + 6 * tl.program_id(0)
    place = _place(scratch_ptr + branch.to(tl.int64) * padded * (step * TILE), step, BLOCK, TILE)
    left, right = tl.load(entry) * TILE, tl.load(entry + 1) * TILE
    out = tl.full((TILE, TILE), 0.0, SUM)
    for start in range(0, batch, BLOCK):
        rows = place + tl.cast(start, tl.int64) * (step * TILE)
        there = (start + tl.arange(0, BLOCK) < batch)[:, None]
        act = tl.load(rows + left, mask=there, other=0.0).to(OPERAND)
        grad = tl.load(rows + right, mask=there, other=0.0).to(OPERAND)
        out = tl.dot(tl.trans(act), grad, out, input_precision=PRECISION, out_dtype=SUM)
    offset, mask = _part(entry + 2, TILE)
    tl.store(grad_ptr + branch * table_size + offset, out, mask=mask)


@triton.jit
def reduce_sums(
    scratch_ptr, grad_ptr, sums_ptr, batch, padded, table_size, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """The gradients of biases, likewise."""
    branch, entry = tl.program_id(1), sums_ptr + 3 * tl.program_id(0)
    place = _place(scratch_ptr + branch.to(tl.int64) * padded * (step * TILE), step, BLOCK, TILE)
    out = tl.full((TILE,), 0.0, SUM)
    for start in range(0, batch, BLOCK):
        rows = place + tl.cast(start, tl.int64) * (step * TILE)
        there = (start + tl.arange(0, BLOCK) < batch)[:, None]
        grad = tl.load(rows + tl.load(entry) * TILE, mask=there, other=0.0)
        out += tl.sum(grad.to(SUM), axis=0)
    columns = tl.arange(0, TILE)
    target = grad_ptr + branch * table_size + tl.load(entry + 1) + columns
    tl.store(target, out, mask=columns < tl.load(entry + 2))
