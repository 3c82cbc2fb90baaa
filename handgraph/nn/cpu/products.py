"""Products of small matrices, compiled: what the compiled net is made of.

All arrays are flat. The last axis of what is multiplied is long, since the samples lie on it, and
its loop becomes vector instructions. Two rows and four terms are taken at once, so that each number
that is loaded is used more than once.
"""

from __future__ import annotations

from typing import Any

from numba import njit

FAST = {"contract", "nsz", "reassoc"}
"""Sums may be reordered; NaN and infinity stay what they are."""


def compiled(function: Any) -> Any:
    """Compile when first called, and keep the result on disk where that can be written."""
    options = {"fastmath": FAST, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # there is no place for it
        return njit(**options)(function)


@compiled
def add_product(out, a, row, column, x, rows, terms, size):
    """``out[rows, size] += a[rows, terms] @ x[terms, size]``, a's (i, k) at i row + k column."""
    if size == 1:
        _add_product_one(out, a, row, column, x, rows, terms)
        return
    for i in range(0, rows - 1, 2):
        first, second = out[i * size : (i + 1) * size], out[(i + 1) * size : (i + 2) * size]
        for k in range(0, terms - 3, 4):
            p = i * row + k * column
            a0, a1, a2, a3 = a[p], a[p + column], a[p + 2 * column], a[p + 3 * column]
            p += row
            b0, b1, b2, b3 = a[p], a[p + column], a[p + 2 * column], a[p + 3 * column]
            x0, x1 = x[k * size : (k + 1) * size], x[(k + 1) * size : (k + 2) * size]
            x2, x3 = x[(k + 2) * size : (k + 3) * size], x[(k + 3) * size : (k + 4) * size]
            for s in range(size):
                first[s] += a0 * x0[s] + a1 * x1[s] + a2 * x2[s] + a3 * x3[s]
                second[s] += b0 * x0[s] + b1 * x1[s] + b2 * x2[s] + b3 * x3[s]
        for k in range(terms - terms % 4, terms):
            a0, b0, x0 = a[i * row + k * column], a[(i + 1) * row + k * column], x[k * size :]
            for s in range(size):
                first[s] += a0 * x0[s]
                second[s] += b0 * x0[s]
    for i in range(rows - rows % 2, rows):
        first = out[i * size : (i + 1) * size]
        for k in range(terms):
            a0, x0 = a[i * row + k * column], x[k * size :]
            for s in range(size):
                first[s] += a0 * x0[s]


@compiled
def _add_product_one(out, a, row, column, x, rows, terms):
    """Of a single sample, the other axes are the long ones."""
    if column == 1:
        for i in range(rows):
            a0, total = a[i * row : i * row + terms], a.dtype.type(0)
            for k in range(terms):
                total += a0[k] * x[k]
            out[i] += total
        return
    for k in range(terms):
        a0, x0 = a[k * column :], x[k]
        for i in range(rows):
            out[i] += a0[i * row] * x0


@compiled
def add_gram(out, row, y, x, rows, columns, size):
    """``out[rows, columns] += y[rows, size] @ x[columns, size].T``, out's (i, k) at i row + k."""
    if size == 1:
        for i in range(rows):
            out0, one = out[i * row : i * row + columns], y[i]
            for k in range(columns):
                out0[k] += one * x[k]
        return
    zero = y.dtype.type(0)
    for i in range(rows):
        y0 = y[i * size : (i + 1) * size]
        for k in range(0, columns - 3, 4):
            x0, x1 = x[k * size : (k + 1) * size], x[(k + 1) * size : (k + 2) * size]
            x2, x3 = x[(k + 2) * size : (k + 3) * size], x[(k + 3) * size : (k + 4) * size]
            s0, s1, s2, s3 = zero, zero, zero, zero
            for s in range(size):
                s0 += y0[s] * x0[s]
                s1 += y0[s] * x1[s]
                s2 += y0[s] * x2[s]
                s3 += y0[s] * x3[s]
            p = i * row + k
            out[p] += s0
            out[p + 1] += s1
            out[p + 2] += s2
            out[p + 3] += s3
        for k in range(columns - columns % 4, columns):
            x0, s0 = x[k * size :], zero
            for s in range(size):
                s0 += y0[s] * x0[s]
            out[i * row + k] += s0


@compiled
def add_to_nodes(out, weight, row, column, x, nodes, channels, ins, size):
    """Add to each node's ``[channels, size]`` the weight times its ``[ins, size]``."""
    for j in range(nodes):
        mine, its = out[j * channels * size :], x[j * ins * size :]
        add_product(mine, weight, row, column, its, channels, ins, size)


@compiled
def add_node_grams(out, y, x, nodes, channels, ins, size):
    """``out[channels, ins] += y[channels, size] @ x[ins, size].T``, summed over the nodes."""
    for j in range(nodes):
        add_gram(out, ins, y[j * channels * size :], x[j * ins * size :], channels, ins, size)


@compiled
def add_sums(out, x, rows, size):
    """``out[rows] += x[rows, size].sum(1)``."""
    for i in range(rows):
        x0, total = x[i * size : (i + 1) * size], x.dtype.type(0)
        for s in range(size):
            total += x0[s]
        out[i] += total


@compiled
def fill(out, values, times, rows, size):
    """``out[times, rows, size] = values[rows, None]``."""
    for i in range(times):
        for j in range(rows):
            out[(i * rows + j) * size : (i * rows + j + 1) * size] = values[j]


@compiled
def relu(x, size):
    """Set to 0 what is negative, in place; NaN stays."""
    for s in range(size):
        if x[s] <= 0:
            x[s] = 0


@compiled
def cut(grad, out, size):
    """The gradient before a ReLU that gave ``out``, in place."""
    for s in range(size):
        if out[s] <= 0:
            grad[s] = 0
