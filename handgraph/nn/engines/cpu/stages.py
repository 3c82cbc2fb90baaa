"""Compiled stages of a plan for a block of samples, forward and backward.

The intermediates of a block fit the cache. They are not saved for the derivative, which recomputes
them. ``w`` points to the work space, of which row r is ``w[r * size : (r + 1) * size]``, and ``g``
to its gradient. ``address`` and ``row`` are the addresses and row strides of the maps, and
``found`` the addresses of their gradients (:mod:`.shared`). The tables are those of
:class:`~handgraph.nn.engines.cpu.program.Tables`.
"""

from __future__ import annotations

from handgraph.nn.engines.cpu.compile import compiled
from handgraph.nn.engines.cpu.products import (
    add,
    add_gram,
    add_node_grams,
    add_products,
    add_scaled,
    add_sums,
    apply_relu,
    clear,
    fill,
    multiply,
    multiply_nodes,
    relu_backward,
)
from handgraph.nn.engines.cpu.program import (
    CHANNELS,
    CHANNELS_FIRST,
    GATHER,
    NODES,
    NODES_FIRST,
    SCALED,
)
from handgraph.nn.engines.cpu.tiles import at, pointer


@compiled
def run(like, w, address, row, tables, size):
    """Compute the outputs of all stages."""
    for to, nodes, channels, slot, offset, step, relu, first, last in tables.stages:
        out = at(w, to * size)
        if slot < 0:
            clear(out, nodes * channels * size)
        else:
            bias = at(pointer(like, address[slot]), offset)
            fill(out, bias, step, nodes, channels, size)
        for t in range(first, last):
            with_relu = relu == 1 and t == last - 1
            _add_term(like, w, out, address, row, tables, t, with_relu, size)


@compiled
def _add_term(like, w, out, address, row, tables, t, with_relu, size):
    kind, source, ins, inner, outs, channels, nodes_at, start, weight_at, middle = tables.terms[t]
    x, mid = at(w, source * size), at(w, middle * size)
    matrix = at(pointer(like, address[nodes_at]), start)
    weight, step = pointer(like, address[weight_at]), row[weight_at]
    if kind == NODES_FIRST:
        multiply(mid, 0, False, matrix, ins, 1, x, outs, ins, inner * size)
        multiply_nodes(out, 1, with_relu, weight, step, 1, mid, outs, channels, inner, size)
    elif kind == CHANNELS_FIRST:
        multiply_nodes(mid, 0, False, weight, step, 1, x, ins, channels, inner, size)
        multiply(out, 1, with_relu, matrix, ins, 1, mid, outs, ins, channels * size)
    elif kind == CHANNELS:
        multiply_nodes(out, 1, with_relu, weight, step, 1, x, outs, channels, inner, size)
    elif kind == NODES:
        multiply(out, 1, with_relu, matrix, ins, 1, x, outs, ins, inner * size)
    else:
        if kind == SCALED:
            add_scaled(out, x, mid, outs, channels, size)
        elif kind == GATHER:
            _gather(out, x, tables.selected[middle:], outs, inner * size)
        else:
            add(out, x, outs * inner * size)
        if with_relu:
            apply_relu(out, outs * channels * size)


@compiled
def _gather(out, x, selected, outs, size):
    for j in range(outs):
        node = selected[j, 0]
        if node >= 0:
            add(at(out, j * size), at(x, node * size), size)


@compiled
def run_back(like, w, g, address, row, found, tables, size):
    """Add the gradients of the maps to ``found``, and write those of the inputs to ``g``.

    ``w`` contains the rows from :func:`run`; ``g`` contains zeros and the last output's gradient.
    """
    for to, nodes, channels, slot, offset, step, relu, first, last in tables.stages[::-1]:
        grad = at(g, to * size)
        if relu == 1:
            relu_backward(grad, at(w, to * size), nodes * channels * size)
        if slot >= 0:
            bias = at(pointer(like, found[slot]), offset)
            for j in range(nodes):
                add_sums(at(bias, j * step), at(grad, j * channels * size), channels, size)
        for t in range(last - 1, first - 1, -1):
            _pull_term(like, w, g, grad, address, row, found, tables.terms[t], size)


@compiled
def _pull_term(like, w, g, grad, address, row, found, term, size):
    kind, source, ins, inner, outs, channels, nodes_at, start, weight_at, middle = term
    x, dx, mid, back = (at(w, source * size), at(g, source * size),
                        at(w, middle * size), at(g, middle * size))  # fmt: skip
    matrix, d_matrix = (
        at(pointer(like, address[nodes_at]), start),
        at(pointer(like, found[nodes_at]), start),
    )
    weight, step, d_weight = (
        pointer(like, address[weight_at]),
        row[weight_at],
        pointer(like, found[weight_at]),
    )
    if kind == NODES_FIRST:
        add_node_grams(d_weight, grad, mid, outs, channels, inner, size)
        multiply_nodes(back, 1, False, weight, 1, step, grad, outs, inner, channels, size)
        add_gram(d_matrix, ins, back, x, outs, ins, inner * size)
        multiply(dx, 1, False, matrix, 1, ins, back, ins, outs, inner * size)
    elif kind == CHANNELS_FIRST:
        add_gram(d_matrix, ins, grad, mid, outs, ins, channels * size)
        multiply(back, 1, False, matrix, 1, ins, grad, ins, outs, channels * size)
        add_node_grams(d_weight, back, x, ins, channels, inner, size)
        multiply_nodes(dx, 1, False, weight, 1, step, back, ins, inner, channels, size)
    elif kind == CHANNELS:
        add_node_grams(d_weight, grad, x, outs, channels, inner, size)
        multiply_nodes(dx, 1, False, weight, 1, step, grad, outs, inner, channels, size)
    elif kind == NODES:
        add_gram(d_matrix, ins, grad, x, outs, ins, inner * size)
        multiply(dx, 1, False, matrix, 1, ins, grad, ins, outs, inner * size)
    elif kind == SCALED:
        add_scaled(dx, grad, mid, outs, channels, size)
        add_products(back, grad, x, outs, channels, size)
    else:
        add(dx, grad, outs * channels * size)
