"""Compiled products of small matrices.

A matrix is a pointer to its first element. The last axis of the operands has length ``size``, the
number of samples padded to a multiple of :data:`LANES`.
"""

from __future__ import annotations

from handgraph.nn.engines.cpu.compile import compiled, reduction
from handgraph.nn.engines.cpu.tiles import HEIGHT, LANES, WIDTH, at, gram_tile, tile


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
    """Round up to a multiple of the vector length."""
    return (samples + LANES - 1) // LANES * LANES


@compiled
def multiply(out, adds, relu, a, row, column, x, rows, terms, size):
    """``out[rows, size] = a[rows, terms] @ x[terms, size]``, then a ReLU if ``relu``.

    If ``adds``, the product is added to ``out``. Element (i, k) of a is at i row + k column. size
    is a multiple of LANES, or that of a single sample.
    """
    if size % LANES:
        multiply_few(out, adds, relu, a, row, column, x, rows, terms, size)
        return
    for s in range(0, size, LANES * WIDTH):
        xs, width = at(x, s), min(WIDTH, (size - s) // LANES)
        for i in range(0, rows, HEIGHT):
            mine, its, height = at(out, i * size + s), at(a, i * row), min(HEIGHT, rows - i)
            tile(mine, adds, relu, its, row, column, xs, terms, size, height, width)


@compiled
def multiply_few(out, adds, relu, a, row, column, x, rows, terms, size):
    """:func:`multiply` for a single sample, which does not fill a vector."""
    if not adds:
        clear(out, rows * size)
    if size == 1:
        for i in range(rows):
            out[i] += strided_dot(at(a, i * row), column, x, terms)
    else:
        add_small(out, a, row, column, x, rows, terms, size)
    if relu:
        apply_relu(out, rows * size)


@reduction
def strided_dot(x, step, y, size):
    """``(x[::step][:size] * y[:size]).sum()``."""
    result = x[0] * y[0]
    for s in range(1, size):
        result += x[s * step] * y[s]
    return result


@compiled
def add_small(out, a, row, column, x, rows, terms, size):
    """``out[rows, size] += a[rows, terms] @ x[terms, size]`` for any size, in plain loops."""
    for i in range(rows):
        mine = at(out, i * size)
        for k in range(0, terms - terms % 4, 4):
            p, x0 = i * row + k * column, at(x, k * size)
            a0, a1, a2, a3 = a[p], a[p + column], a[p + 2 * column], a[p + 3 * column]
            x1, x2, x3 = at(x0, size), at(x0, 2 * size), at(x0, 3 * size)
            for s in range(size):
                mine[s] += a0 * x0[s] + a1 * x1[s] + a2 * x2[s] + a3 * x3[s]
        for k in range(terms - terms % 4, terms):
            a0, x0 = a[i * row + k * column], at(x, k * size)
            for s in range(size):
                mine[s] += a0 * x0[s]


@compiled
def add_gram(out, row, y, x, rows, columns, size):
    """``out[rows, columns] += y[rows, size] @ x[columns, size].T`` with row stride ``row``."""
    for i in range(0, rows, HEIGHT):
        ys, height = at(y, i * size), min(HEIGHT, rows - i)
        for k in range(0, columns, WIDTH):
            mine, xs, width = at(out, i * row + k), at(x, k * size), min(WIDTH, columns - k)
            gram_tile(mine, row, ys, xs, size, height, width)


@compiled
def multiply_nodes(out, adds, relu, weight, row, column, x, nodes, channels, ins, size):
    """Multiply a weight by the ``[ins, size]`` of each node, which gives ``[channels, size]``."""
    for j in range(nodes):
        mine, its = at(out, j * channels * size), at(x, j * ins * size)
        multiply(mine, adds, relu, weight, row, column, its, channels, ins, size)


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
def fill(out, values, step, nodes, channels, size):
    """``out[nodes, channels, size] = values[nodes, channels]`` with node stride ``step``."""
    for j in range(nodes):
        for c in range(channels):
            mine, value = at(out, (j * channels + c) * size), values[j * step + c]
            for s in range(size):
                mine[s] = value


@compiled
def add_scaled(out, x, by, nodes, channels, size):
    """``out[nodes, channels, size] += x[nodes, channels, size] * by[nodes, 1, size]``."""
    for j in range(nodes):
        factors = at(by, j * size)
        for c in range(channels):
            mine, its = at(out, (j * channels + c) * size), at(x, (j * channels + c) * size)
            for s in range(size):
                mine[s] += its[s] * factors[s]


@compiled
def add_products(out, x, y, nodes, channels, size):
    """``out[nodes, size] += (x[nodes, channels, size] * y[nodes, channels, size]).sum(1)``."""
    for j in range(nodes):
        mine = at(out, j * size)
        for c in range(channels):
            xs, ys = at(x, (j * channels + c) * size), at(y, (j * channels + c) * size)
            for s in range(size):
                mine[s] += xs[s] * ys[s]


@compiled
def apply_relu(x, size):
    """Apply ReLU in place; NaN stays NaN."""
    for s in range(size):
        x[s] = 0 if x[s] < 0 else x[s]


@compiled
def add(out, x, size):
    """``out[size] += x[size]``."""
    for s in range(size):
        out[s] += x[s]


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
def relu_backward(grad, out, size):
    """Backward of ReLU in place, given its output."""
    for s in range(size):
        if out[s] <= 0:
            grad[s] = 0
