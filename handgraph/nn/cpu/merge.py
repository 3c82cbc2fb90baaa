"""The maps of a branch from its parameters, and the way back for gradients; compiled.

:func:`handgraph.nn.unet_maps.merge_maps` on flat arrays. ``p`` are the parameters of a branch,
where ``at`` says; ``m`` its maps, where ``to`` says; ``dp`` and ``dm`` their gradients.
"""

from __future__ import annotations

import numpy as np

from handgraph.nn.conv import EPS
from handgraph.nn.cpu.products import compiled, dot
from handgraph.nn.cpu.tiles import at, start


@compiled
def merge(p, m, at, to, shape, signed):
    """Write all maps into ``m``, which holds zeros."""
    last = len(shape.nodes) - 1
    for i in range(last):
        n, below = shape.nodes[i], shape.nodes[i + 1]
        laplacian = m[to.skip_nodes[i] :]
        _normalize(laplacian, p[at.adjacency[i] :], n, signed)
        _add_product(m[to.deep_nodes[i] :], laplacian, n, 1, p[at.unpool[i] :], n, n, below)
        if i == 0:
            _add(m[to.nodes[0] :], laplacian, n * n)
        else:
            above, pool, bias = shape.nodes[i - 1], p[at.pool[i - 1] :], p[at.pool_bias[i - 1] :]
            _add_product(m[to.nodes[i] :], laplacian, n, 1, pool, n, n, above)
            _add_product(m[to.node_bias[i] :], laplacian, n, 1, bias, n, n, 1)
        _merge_up(p, m, at, to, shape, i, laplacian)
    _add(m[to.nodes[last] :], p[at.pool[last - 1] :], shape.nodes[last] * shape.comes[last])
    _add(m[to.node_bias[last] :], p[at.pool_bias[last - 1] :], shape.nodes[last])
    for i in range(last + 1):
        _add(m[to.channels[i] :], p[at.down[i] :], shape.widths[i + 1] * shape.widths[i])
        _add(m[to.channel_bias[i] :], p[at.down_bias[i] :], shape.widths[i + 1])
    _add(m[to.expand :], p[at.expand :], shape.widths[last] * shape.widths[last + 1])
    _add(m[to.expand_bias :], p[at.expand_bias :], shape.widths[last])


@compiled
def _merge_up(p, m, at, to, shape, i, laplacian):
    """The channels of a stage up, and its bias: unpooling adds the same to all channels."""
    n, width, out, up = shape.nodes[i], shape.widths[i + 1], shape.outs[i], p[at.up[i] :]
    shift = np.zeros(n, dtype=p.dtype)
    _add_product(shift, laplacian, n, 1, p[at.unpool_bias[i] :], n, n, 1)
    for c in range(out):
        total = p.dtype.type(0)
        for k in range(width):
            deep = up[c * 2 * width + width + k]
            m[to.skip_channels[i] + c * width + k] = up[c * 2 * width + k]
            m[to.deep_channels[i] + c * width + k] = deep
            total += deep
        for j in range(n):
            m[to.up_bias[i] + j * out + c] = p[at.up_bias[i] + c] + shift[j] * total


@compiled
def unmerge(p, m, dp, dm, at, to, shape, signed):
    """Add to ``dp``, and to ``dm`` on the way."""
    last = len(shape.nodes) - 1
    for i in range(last):
        n, below = shape.nodes[i], shape.nodes[i + 1]
        laplacian, grad = m[to.skip_nodes[i] :], dm[to.skip_nodes[i] :]
        _unmerge_up(p, dp, dm, at, to, shape, i, laplacian, grad)
        _back(p, dp, at.unpool[i], laplacian, grad, dm[to.deep_nodes[i] :], n, below)
        if i == 0:
            _add(grad, dm[to.nodes[0] :], n * n)
        else:
            above, d_nodes, d_bias = shape.nodes[i - 1], dm[to.nodes[i] :], dm[to.node_bias[i] :]
            _back(p, dp, at.pool[i - 1], laplacian, grad, d_nodes, n, above)
            _back(p, dp, at.pool_bias[i - 1], laplacian, grad, d_bias, n, 1)
        _unnormalize(dp[at.adjacency[i] :], grad, laplacian, p[at.adjacency[i] :], n, signed)
    _add(dp[at.pool[last - 1] :], dm[to.nodes[last] :], shape.nodes[last] * shape.comes[last])
    _add(dp[at.pool_bias[last - 1] :], dm[to.node_bias[last] :], shape.nodes[last])
    for i in range(last + 1):
        _add(dp[at.down[i] :], dm[to.channels[i] :], shape.widths[i + 1] * shape.widths[i])
        _add(dp[at.down_bias[i] :], dm[to.channel_bias[i] :], shape.widths[i + 1])
    _add(dp[at.expand :], dm[to.expand :], shape.widths[last] * shape.widths[last + 1])
    _add(dp[at.expand_bias :], dm[to.expand_bias :], shape.widths[last])


@compiled
def _unmerge_up(p, dp, dm, at, to, shape, i, laplacian, grad):
    n, width, out = shape.nodes[i], shape.widths[i + 1], shape.outs[i]
    up, d_up = p[at.up[i] :], dp[at.up[i] :]
    shift, d_shift = np.zeros(n, dtype=p.dtype), np.zeros(n, dtype=p.dtype)
    _add_product(shift, laplacian, n, 1, p[at.unpool_bias[i] :], n, n, 1)
    for c in range(out):
        total, d_total = p.dtype.type(0), p.dtype.type(0)
        for k in range(width):
            total += up[c * 2 * width + width + k]
        for j in range(n):
            d_bias = dm[to.up_bias[i] + j * out + c]
            dp[at.up_bias[i] + c] += d_bias
            d_shift[j] += d_bias * total
            d_total += d_bias * shift[j]
        for k in range(width):
            d_up[c * 2 * width + k] += dm[to.skip_channels[i] + c * width + k]
            d_up[c * 2 * width + width + k] += dm[to.deep_channels[i] + c * width + k] + d_total
    _back(p, dp, at.unpool_bias[i], laplacian, grad, d_shift, n, 1)


@compiled
def _back(p, dp, start, laplacian, d_laplacian, d_map, n, size):
    """Of the product of a laplacian and the parameter ``p[start:]``, ``[n, size]``."""
    _add_product(dp[start:], laplacian, 1, n, d_map, n, n, size)
    _add_gram(d_laplacian, d_map, p[start:], n, size)


@compiled
def _add_product(out, a, row, column, x, rows, terms, size):
    """``out[rows, size] += a[rows, terms] @ x[terms, size]``, a's (i, k) at i row + k column."""
    for i in range(rows):
        mine = at(start(out), i * size)
        for k in range(0, terms - terms % 4, 4):
            p, x0 = i * row + k * column, at(start(x), k * size)
            a0, a1, a2, a3 = a[p], a[p + column], a[p + 2 * column], a[p + 3 * column]
            x1, x2, x3 = at(x0, size), at(x0, 2 * size), at(x0, 3 * size)
            for s in range(size):
                mine[s] += a0 * x0[s] + a1 * x1[s] + a2 * x2[s] + a3 * x3[s]
        for k in range(terms - terms % 4, terms):
            a0, x0 = a[i * row + k * column], at(start(x), k * size)
            for s in range(size):
                mine[s] += a0 * x0[s]


@compiled
def _add_gram(out, y, x, n, size):
    """``out[n, n] += y[n, size] @ x[n, size].T``."""
    for i in range(n):
        for k in range(n):
            out[i * n + k] += dot(at(start(y), i * size), at(start(x), k * size), size)


@compiled
def _add(out, values, count):
    for k in range(count):
        out[k] += values[k]


@compiled
def _scale(adjacency, n, signed):
    """One over the root of each node's degree."""
    scale = np.empty(n, dtype=adjacency.dtype)
    for j in range(n):
        degree = adjacency.dtype.type(EPS)
        for i in range(n):
            entry = adjacency[i * n + j]
            degree += entry if signed else abs(entry)
        scale[j] = degree ** adjacency.dtype.type(-0.5)
    return scale


@compiled
def _normalize(laplacian, adjacency, n, signed):
    scale = _scale(adjacency, n, signed)
    for i in range(n):
        for j in range(n):
            laplacian[i * n + j] = scale[i] * adjacency[i * n + j] * scale[j]


@compiled
def _unnormalize(d_adjacency, grad, laplacian, adjacency, n, signed):
    scale, degree = _scale(adjacency, n, signed), np.zeros(n, dtype=adjacency.dtype)
    for i in range(n):
        for j in range(n):
            share = grad[i * n + j] * laplacian[i * n + j]
            degree[i] += share
            degree[j] += share
    half, one = adjacency.dtype.type(0.5), adjacency.dtype.type(1)
    for i in range(n):
        for j in range(n):
            sign = one if signed else np.sign(adjacency[i * n + j])
            through = half * degree[j] * scale[j] * scale[j] * sign
            d_adjacency[i * n + j] += grad[i * n + j] * scale[i] * scale[j] - through
