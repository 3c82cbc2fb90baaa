"""A block of samples through a branch of the Adaptive Graph U-Net and back, compiled.

A block is so small that all its intermediates stay in the cache. So none are kept for the
derivative, which computes them anew. ``m`` are the maps of a branch, where ``to`` says; ``w`` is
the work space, whose row r is ``w[r * size : (r + 1) * size]``, and ``g`` its gradient.
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
    relu,
)


@compiled
def run(m, w, to, rows, shape, size):
    """Compute all rows from those of the input."""
    last = len(shape.nodes) - 1
    for i in range(last + 1):
        _down(rows.x if i == 0 else rows.down[i - 1], m, w, to, rows, shape, i, size)
    nodes, width, inner = shape.nodes[last], shape.widths[last], shape.widths[last + 1]
    out, squeezed = w[rows.expanded * size :], w[rows.down[last] * size :]
    fill(out, m[to.expand_bias :], nodes, width, size)
    add_to_nodes(out, m[to.expand :], inner, 1, squeezed, nodes, width, inner, size)
    relu(out, nodes * width * size)
    for i in range(last - 1, -1, -1):
        _up(rows.expanded if i + 1 == last else rows.up[i + 1], m, w, to, rows, shape, i, size)
        if i > 0:
            relu(w[rows.up[i] * size :], shape.goes[i] * shape.outs[i] * size)


@compiled
def _down(x, m, w, to, rows, shape, i, size):
    nodes, comes, ins, outs = shape.nodes[i], shape.comes[i], shape.widths[i], shape.widths[i + 1]
    mixed, out = w[rows.mixed[i] * size :], w[rows.down[i] * size :]
    fill(mixed, m[to.node_bias[i] :], 1, nodes, ins * size)
    add_product(mixed, m[to.nodes[i] :], comes, 1, w[x * size :], nodes, comes, ins * size)
    fill(out, m[to.channel_bias[i] :], nodes, outs, size)
    add_to_nodes(out, m[to.channels[i] :], ins, 1, mixed, nodes, outs, ins, size)
    relu(out, nodes * outs * size)


@compiled
def _up(x, m, w, to, rows, shape, i, size):
    nodes, below, goes = shape.nodes[i], shape.nodes[i + 1], shape.goes[i]
    ins, outs = shape.widths[i + 1], shape.outs[i]
    skip, deep, out = w[rows.skip[i] * size :], w[rows.deep[i] * size :], w[rows.up[i] * size :]
    skip[: nodes * outs * size] = 0
    deep[: below * outs * size] = 0
    down = w[rows.down[i] * size :]
    add_to_nodes(skip, m[to.skip_channels[i] :], ins, 1, down, nodes, outs, ins, size)
    add_to_nodes(deep, m[to.deep_channels[i] :], ins, 1, w[x * size :], below, outs, ins, size)
    fill(out, m[to.up_bias[i] :], 1, goes * outs, size)
    add_product(out, m[to.skip_nodes[i] :], nodes, 1, skip, goes, nodes, outs * size)
    add_product(out, m[to.deep_nodes[i] :], below, 1, deep, goes, below, outs * size)


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
    grad, squeezed = g[rows.expanded * size :], rows.down[last] * size
    cut(grad, w[rows.expanded * size :], nodes * width * size)
    _add_bias(dm[to.expand_bias :], grad, nodes, width, size)
    add_node_grams(dm[to.expand :], grad, w[squeezed:], nodes, width, inner, size)
    add_to_nodes(g[squeezed:], m[to.expand :], 1, inner, grad, nodes, inner, width, size)
    for i in range(last, -1, -1):
        _down_back(rows.x if i == 0 else rows.down[i - 1], m, w, g, dm, to, rows, shape, i, size)


@compiled
def _up_back(x, m, w, g, dm, to, rows, shape, i, size):
    nodes, below, goes = shape.nodes[i], shape.nodes[i + 1], shape.goes[i]
    ins, outs = shape.widths[i + 1], shape.outs[i]
    grad, skip, deep = g[rows.up[i] * size :], rows.skip[i] * size, rows.deep[i] * size
    if i > 0:
        cut(grad, w[rows.up[i] * size :], goes * outs * size)
    add_sums(dm[to.up_bias[i] :], grad, goes * outs, size)
    add_gram(dm[to.skip_nodes[i] :], nodes, grad, w[skip:], goes, nodes, outs * size)
    add_gram(dm[to.deep_nodes[i] :], below, grad, w[deep:], goes, below, outs * size)
    add_product(g[skip:], m[to.skip_nodes[i] :], 1, nodes, grad, nodes, goes, outs * size)
    add_product(g[deep:], m[to.deep_nodes[i] :], 1, below, grad, below, goes, outs * size)
    down, x = rows.down[i] * size, x * size
    add_node_grams(dm[to.skip_channels[i] :], g[skip:], w[down:], nodes, outs, ins, size)
    add_node_grams(dm[to.deep_channels[i] :], g[deep:], w[x:], below, outs, ins, size)
    add_to_nodes(g[down:], m[to.skip_channels[i] :], 1, ins, g[skip:], nodes, ins, outs, size)
    add_to_nodes(g[x:], m[to.deep_channels[i] :], 1, ins, g[deep:], below, ins, outs, size)


@compiled
def _down_back(x, m, w, g, dm, to, rows, shape, i, size):
    nodes, comes, ins, outs = shape.nodes[i], shape.comes[i], shape.widths[i], shape.widths[i + 1]
    grad, mixed, x = g[rows.down[i] * size :], rows.mixed[i] * size, x * size
    cut(grad, w[rows.down[i] * size :], nodes * outs * size)
    _add_bias(dm[to.channel_bias[i] :], grad, nodes, outs, size)
    add_node_grams(dm[to.channels[i] :], grad, w[mixed:], nodes, outs, ins, size)
    add_to_nodes(g[mixed:], m[to.channels[i] :], 1, ins, grad, nodes, ins, outs, size)
    add_sums(dm[to.node_bias[i] :], g[mixed:], nodes, ins * size)
    add_gram(dm[to.nodes[i] :], comes, g[mixed:], w[x:], nodes, comes, ins * size)
    add_product(g[x:], m[to.nodes[i] :], 1, comes, g[mixed:], comes, nodes, ins * size)


@compiled
def _add_bias(d_bias, grad, nodes, channels, size):
    for j in range(nodes):
        add_sums(d_bias, grad[j * channels * size :], channels, size)
