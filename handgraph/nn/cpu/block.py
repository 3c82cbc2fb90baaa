"""A block of samples through a branch of the Adaptive Graph U-Net and back, compiled.

A block is so small that all its intermediates stay in the cache. So none are kept for the
derivative, which computes them anew. ``m`` are the maps of a branch, where ``to`` says; ``w`` is
the work space, whose row r is ``w[r * size : (r + 1) * size]``, and ``g`` its gradient: pointers.
"""

from __future__ import annotations

from handgraph.nn.cpu.products import (
    add_gram,
    add_node_grams,
    add_product,
    add_sums,
    add_to_nodes,
    compiled,
    cut,
    fill,
    multiply,
    multiply_nodes,
)
from handgraph.nn.cpu.tiles import ADD, BIAS, ZERO, at


@compiled
def run(m, w, to, rows, shape, size):
    """Compute all rows from those of the input."""
    last = len(shape.nodes) - 1
    for i in range(last + 1):
        _down(rows.x if i == 0 else rows.down[i - 1], m, w, to, rows, shape, i, size)
    nodes, width, inner = shape.nodes[last], shape.widths[last], shape.widths[last + 1]
    out, squeezed = at(w, rows.expanded * size), at(w, rows.down[last] * size)
    bias, weight = at(m, to.expand_bias), at(m, to.expand)
    multiply_nodes(out, BIAS, bias, True, weight, inner, 1, squeezed, nodes, width, inner, size)
    for i in range(last - 1, -1, -1):
        _up(rows.expanded if i + 1 == last else rows.up[i + 1], m, w, to, rows, shape, i, size)


@compiled
def _down(come, m, w, to, rows, shape, i, size):
    nodes, comes, ins, outs = shape.nodes[i], shape.comes[i], shape.widths[i], shape.widths[i + 1]
    mixed, out, x = at(w, rows.mixed[i] * size), at(w, rows.down[i] * size), at(w, come * size)
    bias, a = at(m, to.node_bias[i]), at(m, to.nodes[i])
    multiply(mixed, BIAS, bias, False, a, comes, 1, x, nodes, comes, ins * size)
    bias, a = at(m, to.channel_bias[i]), at(m, to.channels[i])
    multiply_nodes(out, BIAS, bias, True, a, ins, 1, mixed, nodes, outs, ins, size)


@compiled
def _up(x, m, w, to, rows, shape, i, size):
    nodes, below, goes = shape.nodes[i], shape.nodes[i + 1], shape.goes[i]
    ins, outs = shape.widths[i + 1], shape.outs[i]
    skip, deep = at(w, rows.skip[i] * size), at(w, rows.deep[i] * size)
    a, come = at(m, to.skip_channels[i]), at(w, rows.down[i] * size)
    multiply_nodes(skip, ZERO, a, False, a, ins, 1, come, nodes, outs, ins, size)
    a, come = at(m, to.deep_channels[i]), at(w, x * size)
    multiply_nodes(deep, ZERO, a, False, a, ins, 1, come, below, outs, ins, size)
    out = at(w, rows.up[i] * size)
    fill(out, at(m, to.up_bias[i]), 1, goes * outs, size)
    add_product(out, at(m, to.skip_nodes[i]), nodes, 1, skip, goes, nodes, outs * size)
    a = at(m, to.deep_nodes[i])
    multiply(out, ADD, a, i > 0, a, below, 1, deep, goes, below, outs * size)


@compiled
def run_back(m, w, g, dm, to, rows, shape, size):
    """Add the gradients of the maps to ``dm``, and leave that of the input in ``g``.

    Args:
        m: The maps.
        w: All rows, as :func:`run` left them.
        g: Zeros but for the gradient of the output.
        dm: The gradients of the maps.
        to, rows, shape, size: Where and how large everything is.
    """
    last = len(shape.nodes) - 1
    for i in range(last):
        x = rows.expanded if i + 1 == last else rows.up[i + 1]
        _up_back(x, m, w, g, dm, to, rows, shape, i, size)
    nodes, width, inner = shape.nodes[last], shape.widths[last], shape.widths[last + 1]
    grad, squeezed = at(g, rows.expanded * size), rows.down[last] * size
    cut(grad, at(w, rows.expanded * size), nodes * width * size)
    _add_bias(at(dm, to.expand_bias), grad, nodes, width, size)
    add_node_grams(at(dm, to.expand), grad, at(w, squeezed), nodes, width, inner, size)
    add_to_nodes(at(g, squeezed), at(m, to.expand), 1, inner, grad, nodes, inner, width, size)
    for i in range(last, -1, -1):
        _down_back(rows.x if i == 0 else rows.down[i - 1], m, w, g, dm, to, rows, shape, i, size)


@compiled
def _up_back(x, m, w, g, dm, to, rows, shape, i, size):
    nodes, below, goes = shape.nodes[i], shape.nodes[i + 1], shape.goes[i]
    ins, outs = shape.widths[i + 1], shape.outs[i]
    grad, skip, deep = at(g, rows.up[i] * size), rows.skip[i] * size, rows.deep[i] * size
    if i > 0:
        cut(grad, at(w, rows.up[i] * size), goes * outs * size)
    add_sums(at(dm, to.up_bias[i]), grad, goes * outs, size)
    add_gram(at(dm, to.skip_nodes[i]), nodes, grad, at(w, skip), goes, nodes, outs * size)
    add_gram(at(dm, to.deep_nodes[i]), below, grad, at(w, deep), goes, below, outs * size)
    add_product(at(g, skip), at(m, to.skip_nodes[i]), 1, nodes, grad, nodes, goes, outs * size)
    add_product(at(g, deep), at(m, to.deep_nodes[i]), 1, below, grad, below, goes, outs * size)
    down, x = rows.down[i] * size, x * size
    add_node_grams(at(dm, to.skip_channels[i]), at(g, skip), at(w, down), nodes, outs, ins, size)
    add_node_grams(at(dm, to.deep_channels[i]), at(g, deep), at(w, x), below, outs, ins, size)
    add_to_nodes(
        at(g, down), at(m, to.skip_channels[i]), 1, ins, at(g, skip), nodes, ins, outs, size
    )
    add_to_nodes(at(g, x), at(m, to.deep_channels[i]), 1, ins, at(g, deep), below, ins, outs, size)


@compiled
def _down_back(x, m, w, g, dm, to, rows, shape, i, size):
    nodes, comes, ins, outs = shape.nodes[i], shape.comes[i], shape.widths[i], shape.widths[i + 1]
    grad, mixed, x = at(g, rows.down[i] * size), rows.mixed[i] * size, x * size
    cut(grad, at(w, rows.down[i] * size), nodes * outs * size)
    _add_bias(at(dm, to.channel_bias[i]), grad, nodes, outs, size)
    add_node_grams(at(dm, to.channels[i]), grad, at(w, mixed), nodes, outs, ins, size)
    add_to_nodes(at(g, mixed), at(m, to.channels[i]), 1, ins, grad, nodes, ins, outs, size)
    add_sums(at(dm, to.node_bias[i]), at(g, mixed), nodes, ins * size)
    add_gram(at(dm, to.nodes[i]), comes, at(g, mixed), at(w, x), nodes, comes, ins * size)
    add_product(at(g, x), at(m, to.nodes[i]), 1, comes, at(g, mixed), comes, nodes, ins * size)


@compiled
def _add_bias(d_bias, grad, nodes, channels, size):
    for j in range(nodes):
        add_sums(d_bias, at(grad, j * channels * size), channels, size)
