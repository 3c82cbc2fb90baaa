"""All branches and samples, block by block; compiled.

``x`` is ``[N, W, B]``: the samples last, the channels of all nodes of a branch before them.
"""

from __future__ import annotations

import numpy as np

from handgraph.nn.cpu.block import run, run_back
from handgraph.nn.cpu.merge import merge, unmerge
from handgraph.nn.cpu.products import compiled


@compiled
def by_branch(flat, branches, starts):
    """One parameter after the other, ``[N * P]``, to one branch after the other, ``[N, P]``."""
    p = np.empty((branches, starts[-1]), dtype=flat.dtype)
    for k in range(len(starts) - 1):
        start, size = branches * starts[k], starts[k + 1] - starts[k]
        for n in range(branches):
            p[n, starts[k] : starts[k + 1]] = flat[start + n * size : start + (n + 1) * size]
    return p


@compiled
def by_parameter(p, starts):
    """Undo :func:`by_branch`."""
    branches, flat = len(p), np.empty(p.size, dtype=p.dtype)
    for k in range(len(starts) - 1):
        start, size = branches * starts[k], starts[k + 1] - starts[k]
        for n in range(branches):
            flat[start + n * size : start + (n + 1) * size] = p[n, starts[k] : starts[k + 1]]
    return flat


@compiled
def merge_all(p, at, to, shape, signed):
    """The maps of all branches, ``[N, M]``, from their parameters ``[N, P]``."""
    m = np.zeros((len(p), to.size), dtype=p.dtype)
    for n in range(len(p)):
        merge(p[n], m[n], at, to, shape, signed)
    return m


@compiled
def unmerge_all(p, m, dm, at, to, shape, signed):
    """The gradients of the parameters from those of the maps, which are changed."""
    dp = np.zeros_like(p)
    for n in range(len(p)):
        unmerge(p[n], m[n], dp[n], dm[n], at, to, shape, signed)
    return dp


@compiled
def run_all(m, x, out, w, to, rows, shape, block):
    """Write the output; ``w`` has room for a block."""
    for first in range(0, x.shape[2], block):
        size = min(block, x.shape[2] - first)
        for n in range(len(m)):
            _take(w, x[n], first, size)
            run(m[n], w, to, rows, shape, size)
            _put(out[n], w[rows.up[0] * size :], first, size)


@compiled
def run_all_back(m, x, grad, dx, w, g, to, rows, shape, block):
    """Write the gradient of the input, and return that of the maps."""
    dm = np.zeros_like(m)
    for first in range(0, x.shape[2], block):
        size = min(block, x.shape[2] - first)
        for n in range(len(m)):
            _take(w, x[n], first, size)
            run(m[n], w, to, rows, shape, size)
            g[: rows.size * size] = 0
            _take(g[rows.up[0] * size :], grad[n], first, size)
            run_back(m[n], w, g, dm[n], to, rows, shape, size)
            _put(dx[n], g, first, size)
    return dm


@compiled
def _take(w, x, first, size):
    for r in range(len(x)):
        for s in range(size):
            w[r * size + s] = x[r, first + s]


@compiled
def _put(x, w, first, size):
    for r in range(len(x)):
        for s in range(size):
            x[r, first + s] = w[r * size + s]
