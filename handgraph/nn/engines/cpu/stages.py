"""Compiled stages of a plan for a block of samples, forward and backward.

The intermediates of a block fit the cache. They are not saved for the derivative, which recomputes
them. ``w`` points to the work space, of which row r is ``w[r * size : (r + 1) * size]``, and ``g``
to its gradient. ``address`` and ``row`` are the addresses and row strides of the maps, and
``found`` the addresses of their gradients (:mod:`.fusing`). The tables are those of
:class:`~handgraph.nn.engines.cpu.program.Tables`.
"""

from __future__ import annotations

from handgraph.nn.engines.cpu.compile import compiled
from handgraph.nn.engines.cpu.products import (
    add,
    add_gram,
    add_node_grams,
    add_product,
    add_products,
    add_scaled,
    add_sums,
    add_to_nodes,
    apply_relu,
    clear,
    fill,
    multiply,
    multiply_nodes,
    relu_backward,
)
from handgraph.nn.engines.cpu.program import CHANNELS, CHANNELS_FIRST, GATHER, NODES, NODES_FIRST
from handgraph.nn.engines.cpu.tiles import at, pointer


@compiled
def run(like, w, address, row, stages, terms, selected, size):
    """Compute the outputs of all stages."""
    for number in range(len(stages)):
        to, nodes, channels, slot, offset, step, relu, scale, gate, total, ungated, first, last = (
            stages[number]
        )
        end = at(w, (ungated if gate >= 0 else to) * size)
        into = at(w, total * size) if scale >= 0 else end
        bias = at(pointer(like, address[max(slot, 0)]), offset)
        if slot < 0 or scale >= 0:
            clear(into, nodes * channels * size)
        else:
            fill(into, bias, step, nodes, channels, size)
        for t in range(first, last):
            with_relu = relu == 1 and scale < 0 and t == last - 1
            _add_term(like, w, into, address, row, terms[t], selected, with_relu, size)
        if scale >= 0:
            _scale(
                end, into, at(w, scale * size), bias, slot >= 0, step, relu, nodes, channels, size
            )
        if gate >= 0:
            out, by = at(w, to * size), at(w, gate * size)
            clear(out, nodes * channels * size)
            add_scaled(out, end, by, nodes, channels, size)


@compiled
def _scale(out, total, by, bias, has_bias, step, relu, nodes, channels, size):
    """``out = by * total + bias``, then a ReLU if ``relu`` is 1."""
    if has_bias:
        fill(out, bias, step, nodes, channels, size)
    else:
        clear(out, nodes * channels * size)
    add_scaled(out, total, by, nodes, channels, size)
    if relu == 1:
        apply_relu(out, nodes * channels * size)


@compiled
def _add_term(like, w, out, address, row, term, selected, with_relu, size):
    kind, source, ins, inner, outs, channels, nodes_at, start, weight_at, middle = term
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
        block = inner * size
        for j in range(outs):
            node = j if kind != GATHER else selected[middle + j, 0]
            if node >= 0:
                add(at(out, j * block), at(x, node * block), block)
        if with_relu:
            apply_relu(out, outs * block)


@compiled
def run_back(like, w, g, address, row, found, stages, terms, size):
    """Add the gradients of the maps to ``found``, and write those of the inputs to ``g``.

    ``w`` contains the rows from :func:`run`; ``g`` contains zeros and the last output's gradient.
    """
    for number in range(len(stages) - 1, -1, -1):
        to, nodes, channels, slot, offset, step, relu, scale, gate, total, ungated, first, last = (
            stages[number]
        )
        grad, end = at(g, to * size), at(w, to * size)
        if gate >= 0:
            end, before = at(w, ungated * size), at(g, ungated * size)
            add_scaled(before, grad, at(w, gate * size), nodes, channels, size)
            add_products(at(g, gate * size), grad, end, nodes, channels, size)
            grad = before
        if relu == 1:
            relu_backward(grad, end, nodes * channels * size)
        if slot >= 0:
            bias = at(pointer(like, found[slot]), offset)
            for j in range(nodes):
                add_sums(at(bias, j * step), at(grad, j * channels * size), channels, size)
        if scale >= 0:
            before = at(g, total * size)
            add_scaled(before, grad, at(w, scale * size), nodes, channels, size)
            add_products(at(g, scale * size), grad, at(w, total * size), nodes, channels, size)
            grad = before
        for t in range(last - 1, first - 1, -1):
            _pull_term(like, w, g, grad, address, row, found, terms[t], size)


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
        add_to_nodes(back, weight, 1, step, grad, outs, inner, channels, size)
        add_gram(d_matrix, ins, back, x, outs, ins, inner * size)
        add_product(dx, matrix, 1, ins, back, ins, outs, inner * size)
    elif kind == CHANNELS_FIRST:
        add_gram(d_matrix, ins, grad, mid, outs, ins, channels * size)
        add_product(back, matrix, 1, ins, grad, ins, outs, channels * size)
        add_node_grams(d_weight, back, x, ins, channels, inner, size)
        add_to_nodes(dx, weight, 1, step, back, ins, inner, channels, size)
    elif kind == CHANNELS:
        add_node_grams(d_weight, grad, x, outs, channels, inner, size)
        add_to_nodes(dx, weight, 1, step, grad, outs, inner, channels, size)
    elif kind == NODES:
        add_gram(d_matrix, ins, grad, x, outs, ins, inner * size)
        add_product(dx, matrix, 1, ins, grad, ins, outs, inner * size)
    else:
        add(dx, grad, outs * channels * size)
