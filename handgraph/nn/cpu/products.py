"""Products of small matrices, compiled: what the compiled net is made of.

A matrix is a pointer to its first number. The last axis of what is multiplied has ``size`` numbers:
samples, padded to a multiple of :data:`LANES`.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from handgraph.nn.cpu.tiles import ADD, HEIGHT, LANES, WIDTH, at, gram_tile, tile

FAST = {"contract", "nsz"}
"""Products and sums may be fused; NaN and infinity stay what they are."""


def compiled(function: Any, fast: set[str] = FAST) -> Any:
    """Compile when first called, and keep the result on disk where that can be written."""
    options = {"fastmath": fast, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # there is no place for it
        return njit(**options)(function)


def reduction(function: Any) -> Any:
    """Compile what only sums, in an order that LLVM chooses.

    Where the loop wrote something too, the order might depend on where arrays lie in the memory.
    """
    return compiled(function, FAST | {"reassoc"})


@reduction
def total(x, size):
    """``x[size].sum()``."""
    result = x[0]
    for s in range(1, size):
        result += x[s]
    return result


@reduction
def dot(x, y, size):
    """``(x[size] * y[size]).sum()``."""
    result = x[0] * y[0]
    for s in range(1, size):
        result += x[s] * y[s]
    return result


@compiled
def padded(samples):
    """The next multiple of a vector's length."""
    return (samples + LANES - 1) // LANES * LANES


@compiled
def multiply(out, first, bias, relu, a, row, column, x, rows, terms, size):
    """``out[rows, size] = first + a[rows, terms] @ x[terms, size]``, perhaps a ReLU.

    ``first`` is ADD, ZERO or BIAS, for ``bias[rows, None]``; a's (i, k) lies at i row + k column.
    """
    for s in range(0, size, LANES * WIDTH):
        xs, width = at(x, s), min(WIDTH, (size - s) // LANES)
        for i in range(0, rows, HEIGHT):
            mine, its, height = at(out, i * size + s), at(a, i * row), min(HEIGHT, rows - i)
            tile(mine, first, at(bias, i), relu, its, row, column, xs, terms, size, height, width)


@compiled
def add_product(out, a, row, column, x, rows, terms, size):
    """``out[rows, size] += a[rows, terms] @ x[terms, size]``."""
    multiply(out, ADD, out, False, a, row, column, x, rows, terms, size)


@compiled
def add_gram(out, row, y, x, rows, columns, size):
    """``out[rows, columns] += y[rows, size] @ x[columns, size].T``, out's (i, k) at i row + k."""
    for i in range(0, rows, HEIGHT):
        ys, height = at(y, i * size), min(HEIGHT, rows - i)
        for k in range(0, columns, WIDTH):
            mine, xs, width = at(out, i * row + k), at(x, k * size), min(WIDTH, columns - k)
            gram_tile(mine, row, ys, xs, size, height, width)


@compiled
def multiply_nodes(out, first, bias, relu, weight, row, column, x, nodes, channels, ins, size):
    """The product of a weight and each node's ``[ins, size]``: the node's ``[channels, size]``."""
    for j in range(nodes):
        mine, its = at(out, j * channels * size), at(x, j * ins * size)
        multiply(mine, first, bias, relu, weight, row, column, its, channels, ins, size)


@compiled
def add_to_nodes(out, weight, row, column, x, nodes, channels, ins, size):
    """Add to each node's ``[channels, size]`` the weight times its ``[ins, size]``."""
    multiply_nodes(out, ADD, out, False, weight, row, column, x, nodes, channels, ins, size)


@compiled
def add_node_grams(out, y, x, nodes, channels, ins, size):
    """``out[channels, ins] += y[channels, size] @ x[ins, size].T``, summed over the nodes."""
    for j in range(nodes):
        add_gram(out, ins, at(y, j * channels * size), at(x, j * ins * size), channels, ins, size)


@compiled
def add_sums(out, x, rows, size):
    """``out[rows] += x[rows, size].sum(1)``."""
    for i in range(rows):
        out[i] += total(at(x, i * size), size)


@compiled
def fill(out, values, times, rows, size):
    """``out[times, rows, size] = values[rows, None]``."""
    for i in range(times):
        for j in range(rows):
            out0, value = at(out, (i * rows + j) * size), values[j]
            for s in range(size):
                out0[s] = value


@compiled
def copy(out, x, size):
    """``out[size] = x[size]``."""
    for s in range(size):
        out[s] = x[s]


@compiled
def clear(out, size):
    """``out[size] = 0``."""
    for s in range(size):
        out[s] = 0


@compiled
def cut(grad, out, size):
    """The gradient before a ReLU that gave ``out``, in place."""
    for s in range(size):
        if out[s] <= 0:
            grad[s] = 0
