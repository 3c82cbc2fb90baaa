"""The innermost products in LLVM vector code, as LLVM does not vectorise these nested loops.

A tile is a few rows by one or two vectors of samples, or by a few other rows. Its sums stay in
registers until all terms are added, so that each loaded value is used more than once. Arrays are
passed as pointers, which is cheaper than numba's arrays.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16 if get_host_cpu_features().get("avx512f") else 8
"""Elements of a vector: in float32, one AVX-512 or AVX2 register, or two shorter registers."""

HEIGHT, WIDTH = 4, 2
"""Rows and vectors of the largest tile. The sums of larger tiles do not fit the registers."""

_INDEX, _LANE = ir.IntType(64), ir.IntType(32)
_FUSE = ("contract",)


@intrinsic
def start(typing, array):
    """Return a pointer to the first element of an array, which must outlive the pointer."""

    def generate(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def pointer(typing, like, address):
    """Convert an address to a pointer with the dtype of an array."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(like, types.intp), generate


@intrinsic
def at(typing, pointer, count):
    """Return a pointer advanced by ``count`` elements."""

    def generate(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return (pointer(pointer, types.intp), generate) if _are_pointers(pointer) else None


@intrinsic
def tile(typing, out, adds, relu, a, row, column, x, terms, size, height, width):
    """``out[i size + s] = sum_k a[i row + k column] x[k size + s]``, then a ReLU if ``relu``.

    For i below height, at most HEIGHT, and s below LANES times width, at most WIDTH. If ``adds``,
    the sum is added to ``out``.
    """
    one = types.intp

    def generate(context, builder, signature, args):
        emit = _Emit.of(context, builder, signature)
        for case in emit.cases((args[1], 0, 1), (args[9], 1, HEIGHT), (args[10], 1, WIDTH)):
            _emit_tile(emit, args, *case)
        return context.get_dummy_value()

    given = out, one, types.boolean, a, one, one, x, one, one, one, one
    return (types.void(*given), generate) if _are_pointers(out, a, x) else None


def _emit_tile(emit, args, adds, height, width):
    out, _, relu, a, row, column, x, terms, size, _, _ = args
    places = [[emit.at(out, (i, size), (j, LANES)) for j in range(width)] for i in range(height)]
    sums = [
        [emit.variable(emit.load(place) if adds else emit.zero) for place in line]
        for line in places
    ]
    with cgutils.for_range(emit.builder, terms) as loop:
        ones = [emit.load(emit.at(x, (loop.index, size), (j, LANES))) for j in range(width)]
        for i in range(height):
            weight = emit.splat(emit.at(a, (i, row), (loop.index, column)))
            emit.add_products(sums[i], weight, ones)
    for i in range(height):
        for total, place in zip(sums[i], places[i], strict=True):
            emit.store(emit.relu(emit.builder.load(total), relu), place)


@intrinsic
def gram_tile(typing, out, row, y, x, size, height, width):
    """``out[i row + j] += sum_s y[i size + s] x[j size + s]``.

    For i below height, at most HEIGHT, and j below width, at most WIDTH. size is a multiple of
    LANES.
    """
    one = types.intp

    def generate(context, builder, signature, args):
        emit = _Emit.of(context, builder, signature)
        for case in emit.cases((args[5], 1, HEIGHT), (args[6], 1, WIDTH)):
            _emit_gram(emit, args, *case)
        return context.get_dummy_value()

    given = out, one, y, x, one, one, one
    return (types.void(*given), generate) if _are_pointers(out, y, x) else None


def _emit_gram(emit, args, height, width):
    out, row, y, x, size, _, _ = args
    builder = emit.builder
    sums = [[emit.variable(emit.zero) for _ in range(width)] for _ in range(height)]
    with cgutils.for_range(builder, builder.udiv(size, _INDEX(LANES))) as loop:
        ones = [emit.load(emit.at(x, (j, size), (loop.index, LANES))) for j in range(width)]
        for i in range(height):
            other = emit.load(emit.at(y, (i, size), (loop.index, LANES)))
            emit.add_products(sums[i], other, ones)
    for i in range(height):
        for j in range(width):
            place = emit.at(out, (i, row), (j, 1))
            total = emit.sum(builder.load(sums[i][j]))
            builder.store(builder.fadd(builder.load(place), total), place)


def _are_pointers(*given):
    return all(isinstance(one, types.CPointer) for one in given)


class _Emit(NamedTuple):
    """Emits instructions on vectors of one dtype."""

    builder: Any
    vector: Any
    align: int

    @classmethod
    def of(cls, context, builder, signature):
        """Build an emitter for the dtype of the first argument."""
        dtype = signature.args[0].dtype
        vector = ir.VectorType(context.get_value_type(dtype), LANES)
        return cls(builder, vector, dtype.bitwidth // 8)

    def cases(self, *numbers):
        """Iterate over all values of some numbers, given as ``(number, least, most)``.

        The code emitted in an iteration runs for its values. Other values run no code.
        """
        builder, key = self.builder, _INDEX(0)
        for number, _, most in numbers:
            key = builder.add(builder.mul(key, _INDEX(most + 1)), number)
        end = builder.append_basic_block("end")
        switch = builder.switch(key, end)
        for case in product(*(range(least, most + 1) for _, least, most in numbers)):
            block, its = builder.append_basic_block("case"), 0
            for value, (_, _, most) in zip(case, numbers, strict=True):
                its = its * (most + 1) + value
            switch.add_case(_INDEX(its), block)
            builder.position_at_end(block)
            yield case
            builder.branch(end)
        builder.position_at_end(end)

    def at(self, pointer, *steps):
        """Return ``pointer`` advanced by the sum of ``count * step``."""
        for count, step in steps:
            count, step = (_INDEX(v) if isinstance(v, int) else v for v in (count, step))
            pointer = self.builder.gep(pointer, [self.builder.mul(count, step)])
        return pointer

    def variable(self, value):
        """Return a variable, which LLVM keeps in a register."""
        place = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, place)
        return place

    def load(self, pointer):
        """Load a vector."""
        place = self.builder.bitcast(pointer, self.vector.as_pointer())
        return self.builder.load(place, align=self.align)

    def store(self, value, pointer):
        """Store a vector."""
        place = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, place, align=self.align)

    @property
    def zero(self):
        """A vector of zeros."""
        return ir.Constant(self.vector, None)

    def splat(self, pointer):
        """Return a vector of copies of one element."""
        none = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(none, self.builder.load(pointer), _LANE(0))
        return self.builder.shuffle_vector(one, none, ir.VectorType(_LANE, LANES)([0] * LANES))

    def add_products(self, totals, x, ys):
        """Add the product of ``x`` with each of ``ys`` to the variables ``totals``."""
        for total, y in zip(totals, ys, strict=True):
            term = self.builder.fmul(x, y, flags=_FUSE)
            value = self.builder.fadd(self.builder.load(total), term, flags=_FUSE)
            self.builder.store(value, total)

    def relu(self, x, enabled):
        """Apply ReLU if ``enabled``; NaN stays NaN."""
        negative = self.builder.fcmp_ordered("<", x, self.zero)
        clamped = self.builder.select(negative, self.zero, x)
        return self.builder.select(enabled, clamped, x)

    def sum(self, x):
        """Return the sum of a vector, by repeated halving."""
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            halves = (ir.VectorType(_LANE, lanes)([*range(h, h + lanes)]) for h in (0, lanes))
            x = self.builder.fadd(*(self.builder.shuffle_vector(x, x, h) for h in halves))
        return self.builder.extract_element(x, _LANE(0))
