"""The Triton kernel: one program runs a whole chain for one branch and some samples.

The chain is passed as lists of integers (:mod:`handgraph.nn.engines.cuda.program`), so the kernel
is compiled once per dtype, tiling and direction. The scratch memory of a program fits the caches.
Threads of a program read values of other threads, so a barrier follows every store.

BACK is whether the kernel computes gradients, BLOCK the number of samples per block, TILE the
number of columns of a tile. Products have dtype OPERAND and input precision PRECISION. Sums are in
float32.
"""

# No ``from __future__ import annotations``: Triton reads the annotations of kernel arguments. An
# argument without one is a number, a pointer or a tensor.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
import triton
import triton.language as tl

SIZES = ("batch", "source_width", "target_width", "out_place", "step", "num_products")
POINTERS = ("source_ptr", "target_ptr")


@triton.jit
def copy(source, target, width, padded, there, columns, TILE: tl.constexpr):
    """Copy the first ``width`` columns, and store zeros after them up to column ``padded``."""
    for start in range(0, width, TILE):
        value = tl.load(source + start, mask=there & (start + columns < width), other=0.0)
        tl.store(target + start, value, mask=there & (start + columns < padded))
    tl.debug_barrier()


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=POINTERS)
def run(
    source_ptr, target_ptr, acts_ptr, work_ptr, table_ptr, products_ptr, batch, source_width,
    target_width, out_place, step, table_size, num_products, BACK: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Run a chain forward or backward: ``[B, N, source_width]`` to ``[B, N, target_width]``.

    The biases follow the parts of the table. Each part is prefetched during the previous product.
    """
    first, branch = tl.program_id(0) * BLOCK, tl.program_id(1)
    rows, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, TILE)[None, :]
    here, there = rows * step + columns, rows < batch - first
    scratch = (branch * batch + first).to(tl.int64) * step
    acts, work, out = acts_ptr + scratch, work_ptr + scratch, out_place * TILE
    sample = ((first + rows) * tl.num_programs(1) + branch).to(tl.int64)
    copy(source_ptr + sample * source_width + columns, work + (out if BACK else 0) + here,
         source_width, tl.cdiv(source_width, TILE) * TILE, there, columns, TILE)  # fmt: skip

    table, across = table_ptr + branch * table_size, tl.arange(0, TILE)[:, None]
    parts = table + (across * TILE + columns if BACK else columns * TILE + across)
    biases = table + num_products * (TILE * TILE) - tl.load(products_ptr + 2) * TILE + columns
    right = tl.load(parts + tl.load(products_ptr + 1) * (TILE * TILE))
    total = tl.zeros((BLOCK, TILE), tl.float32)
    for number in range(num_products):
        product = products_ptr + 6 * number
        place, width = tl.load(product + 2) * TILE, tl.load(product + 3)
        relu, last = tl.load(product + 4), tl.load(product + 5)
        if BACK:
            gated = there & (columns < width * relu * last)
            opened = tl.load(acts + place + here, mask=gated, other=1.0).to(tl.float32)
        else:
            added = tl.load(biases + place).to(tl.float32)
        left = tl.load(work + tl.load(product) * TILE + here, mask=there, other=0.0)
        ahead = tl.load(parts + tl.load(product + 7) * (TILE * TILE))
        left, right = left.to(OPERAND), right.to(OPERAND)
        total = tl.dot(left, right, total, input_precision=PRECISION, out_dtype=tl.float32)
        right = ahead
        if last > 0:
            if BACK:
                total = tl.where(opened <= 0, 0.0, total)
            else:
                floor = tl.where(relu > 0, 0.0, float("-inf"))
                total = tl.maximum(total + added, floor, tl.PropagateNan.ALL)
            total = tl.where(columns < width, total, 0.0)  # infinity times 0 would be NaN
            tl.store(work + place + here, total.to(work.dtype.element_ty), mask=there)
            tl.debug_barrier()
            total = tl.zeros((BLOCK, TILE), tl.float32)

    copy(work + (0 if BACK else out) + here, target_ptr + sample * target_width + columns,
         target_width, target_width, there, columns, TILE)  # fmt: skip
