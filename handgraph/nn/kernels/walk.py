"""The kernels in Triton: one program walks a whole chain for one branch and a block of samples.

What there is to do comes as lists of integers (:mod:`handgraph.nn.kernels.program`), so these few
lines serve every chain, and are compiled once for each dtype and tiling. Activations stand in a
scratch of the program's own, small enough for the caches.

Threads of a program read what others of it wrote: a barrier stands wherever that begins. BLOCK is
the samples a program takes at a time, and TILE the columns of a tile; sums are of dtype SUM,
products of dtype OPERAND and input precision PRECISION. QUICK ones are in more registers.
"""

# No postponed evaluation here: Triton reads the annotations of a kernel's arguments. One that has
# none is a number, a pointer or a tensor.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl

from handgraph.nn.kernels.products import add_apart

SIZES = (
    "batch", "padded", "branches", "x_width", "in_width", "middle_width", "out_width", "num_parts",
    "num_tiles", "num_back", "out_place", "half", "step",
    "merger_num_parts", "merger_num_tiles", "merger_out_place", "num_parameters", "width",
)  # fmt: skip
kernel = triton.jit(
    do_not_specialize=SIZES, do_not_specialize_on_alignment=["x_ptr", "grad_ptr", "grad_x_ptr"]
)
"""Compile once for all sizes, and not anew where one is 1 or a multiple of 16."""

COPIED = tl.constexpr(1024)  # numbers copied at a time: the addresses of more fill the registers


@triton.jit
def first_tile(scratch, step, BLOCK: tl.constexpr, TILE: tl.constexpr):
    """Pointers to the first tile of the scratch ``[BLOCK, step * TILE]``."""
    rows, columns = tl.arange(0, BLOCK), tl.arange(0, TILE)
    return scratch + rows[:, None] * (step * TILE) + columns[None, :]


@triton.jit
def bias(table, num_parts, number, TILE: tl.constexpr):
    """Pointers to the bias of a tile, behind all parts."""
    return table + num_parts * (TILE * TILE) + number * TILE + tl.arange(0, TILE)


@triton.jit
def first_part(table, TILE: tl.constexpr, BACK: tl.constexpr):
    """Pointers to the first part of all matrices, which stand column by column, or transposed."""
    rows, columns = tl.arange(0, TILE)[:, None], tl.arange(0, TILE)[None, :]
    return table + (rows * TILE + columns if BACK else columns * TILE + rows)


@triton.jit
def walk(
    tiles, num_tiles, terms, scratch, table, num_parts, half, step, BACK: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, QUICK: tl.constexpr, SUM: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute all tiles of a list, one after the other."""
    columns = tl.arange(0, TILE)[None, :]
    place, parts = first_tile(scratch, step, BLOCK, TILE), first_part(table, TILE, BACK)
    right = tl.load(parts + tl.load(terms + 1) * (TILE * TILE))
    for number in range(num_tiles):
        tile = tiles + 5 * number
        where, width, relu = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
        first, last = tl.load(tile + 3), tl.load(tile + 4)
        if BACK:
            gate = place + (where - half) * TILE
            opened = tl.load(gate, mask=columns < width * relu, other=1.0)
        else:
            added = tl.load(bias(table, num_parts, number, TILE))
        out, right = sum_terms(place, parts, right, terms, first, last, BLOCK, TILE, QUICK, SUM,
                               OPERAND, PRECISION)  # fmt: skip
        if BACK:
            out = tl.where(opened.to(SUM) <= 0, 0.0, out)
        else:
            floor = tl.where(relu > 0, 0.0, float("-inf")).to(SUM)
            out = tl.maximum(out + added.to(SUM)[None, :], floor, tl.PropagateNan.ALL)
        out = tl.where(columns < width, out, 0.0)  # infinity times 0 would be NaN
        tl.store(place + where * TILE, out.to(scratch.dtype.element_ty))
        tl.debug_barrier()


@triton.jit
def sum_terms(
    place, parts, right, terms, first, last,
    BLOCK: tl.constexpr, TILE: tl.constexpr, QUICK: tl.constexpr, SUM: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add up the products of a tile, of which the first one's part is there already.

    The next term's part is loaded ahead, also where that is of the next tile. What the parts are
    multiplied with is written tile by tile, so it can be loaded ahead in a tile only.
    """
    none = tl.zeros((BLOCK, TILE), SUM)
    sums = none, none, none
    if QUICK:
        next_left = source(place, terms, first, last, TILE)
    for term in range(first, last):
        if QUICK:
            left, next_left = next_left, source(place, terms, term + 1, last, TILE)
        else:  # the compiler loads ahead, with copies that run on their own
            left = tl.load(place + tl.load(terms + 2 * term) * TILE)
        next_right = tl.load(parts + tl.load(terms + 2 * term + 3) * (TILE * TILE))
        sums = add_apart(sums, left.to(OPERAND), right.to(OPERAND), PRECISION, QUICK)
        right = next_right
    return (sums[0] + (sums[1] + sums[2]) if QUICK else sums[0]), right


@triton.jit
def source(place, terms, term, last, TILE: tl.constexpr):
    """What a term's part is multiplied with, if it is one of the tile's."""
    there = tl.arange(0, TILE)[None, :] < TILE * (term < last)
    return tl.load(place + tl.load(terms + 2 * term) * TILE, mask=there, other=0.0)


@triton.jit
def copy_in(source, source_step, index, width, number, scratch, step, BLOCK: tl.constexpr,
            TILE: tl.constexpr):  # fmt: skip
    """Copy ``number`` rows into the scratch, filled up with zeros.

    All columns, or those of an index, in which -1 stands for zeros.
    """
    CHUNK: tl.constexpr = min(COPIED // BLOCK, TILE)
    rows, chunk = tl.arange(0, BLOCK)[:, None], tl.arange(0, CHUNK)[None, :]
    place = scratch + rows * (step * TILE) + chunk
    for start in range(0, tl.cdiv(width, TILE) * TILE, CHUNK):
        columns = start + chunk
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
    CHUNK: tl.constexpr = min(COPIED // BLOCK, TILE)
    rows, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, CHUNK)[None, :]
    place = scratch + rows * (step * TILE) + columns
    for start in range(0, tl.cdiv(width, TILE) * TILE, CHUNK):
        there = (rows < number) & (start + columns < width)
        tl.store(target + rows * target_step + start + columns, tl.load(place + start), mask=there)
    tl.debug_barrier()


@kernel
def forward(
    x_ptr, table_ptr, out_ptr, scratch_ptr, tiles_ptr, terms_ptr,
    batch, branches, in_width, out_width, table_size, num_parts, num_tiles, out_place, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, QUICK: tl.constexpr, SUM: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``[B, N, W]`` to ``[B, N, W']``; program p of P takes blocks p, p + P, ..."""
    first, branch = tl.program_id(0), tl.program_id(1)
    program = (first * branches + branch).to(tl.int64)
    table = table_ptr + branch * table_size
    scratch = scratch_ptr + program * (BLOCK * step * TILE)
    for block in range(first, tl.cdiv(batch, BLOCK), tl.num_programs(0)):
        row = tl.cast(block, tl.int64) * BLOCK
        node = row * branches + branch
        copy_in(x_ptr + node * in_width, branches * in_width, None, in_width, batch - row,
                scratch, step, BLOCK, TILE)  # fmt: skip
        walk(tiles_ptr, num_tiles, terms_ptr, scratch, table, num_parts, 0, step, False,
              BLOCK, TILE, QUICK, SUM, OPERAND, PRECISION)  # fmt: skip
        copy_out(out_ptr + node * out_width, branches * out_width, out_width, batch - row,
                 scratch + out_place * TILE, step, BLOCK, TILE)  # fmt: skip


@kernel
def core(
    x_ptr, source_ptr, table_ptr, middle_ptr, joined_ptr, merger_table_ptr, out_ptr, scratch_ptr,
    arrived_ptr, tiles_ptr, terms_ptr, merger_tiles_ptr, merger_terms_ptr,
    batch, branches, x_width, in_width, middle_width, out_width, table_size, num_parts, num_tiles,
    out_place, merger_num_parts, merger_num_tiles, merger_out_place, step,
    BLOCK: tl.constexpr, TILE: tl.constexpr, QUICK: tl.constexpr, SUM: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``[B, F]`` to ``[B, W']``: whichever branch is the last to finish a block merges it."""
    first, branch = tl.program_id(0), tl.program_id(1)
    program = (first * branches + branch).to(tl.int64)
    scratch = scratch_ptr + program * (BLOCK * step * TILE)
    joined_width = branches * middle_width
    for block in range(first, tl.cdiv(batch, BLOCK), tl.num_programs(0)):
        row = tl.cast(block, tl.int64) * BLOCK
        middle = middle_ptr + row * joined_width
        copy_in(x_ptr + row * x_width, x_width, source_ptr + branch * in_width, in_width,
                batch - row, scratch, step, BLOCK, TILE)  # fmt: skip
        walk(tiles_ptr, num_tiles, terms_ptr, scratch, table_ptr + branch * table_size, num_parts,
             0, step, False, BLOCK, TILE, QUICK, SUM, OPERAND, PRECISION)  # fmt: skip
        copy_out(middle + branch * middle_width, joined_width, middle_width, batch - row,
                 scratch + out_place * TILE, step, BLOCK, TILE)  # fmt: skip
        if tl.atomic_add(arrived_ptr + block, 1) == branches - 1:
            copy_in(middle, joined_width, joined_ptr, joined_width, batch - row,
                    scratch, step, BLOCK, TILE)  # fmt: skip
            walk(merger_tiles_ptr, merger_num_tiles, merger_terms_ptr, scratch, merger_table_ptr,
                 merger_num_parts, 0, step, False,
                 BLOCK, TILE, QUICK, SUM, OPERAND, PRECISION)  # fmt: skip
            copy_out(out_ptr + row * out_width, out_width, out_width, batch - row,
                     scratch + merger_out_place * TILE, step, BLOCK, TILE)  # fmt: skip
