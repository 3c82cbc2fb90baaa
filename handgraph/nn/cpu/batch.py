"""All branches and samples, block by block; compiled.

``x`` is ``[N, W, B]``: the samples last, the channels of all nodes of a branch before them.
"""

from __future__ import annotations

import numpy as np

from handgraph.nn.cpu.block import run, run_back
from handgraph.nn.cpu.merge import merge, unmerge
from handgraph.nn.cpu.products import clear, compiled, copy, padded
from handgraph.nn.cpu.tiles import at, start


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
    work, up = start(w), rows.up[0]
    for first in range(0, x.shape[2], block):
        there = min(block, x.shape[2] - first)
        size = padded(there)
        for n in range(len(m)):
            _take(work, x[n], first, there, size)
            run(start(m[n]), work, to, rows, shape, size)
            _put(out[n], at(work, up * size), first, there, size)


@compiled
def run_all_back(m, x, grad, dx, w, g, to, rows, shape, block):
    """Write the gradient of the input, and return that of the maps."""
    dm, work, back, up = np.zeros_like(m), start(w), start(g), rows.up[0]
    for first in range(0, x.shape[2], block):
        there = min(block, x.shape[2] - first)
        size = padded(there)
        for n in range(len(m)):
            _take(work, x[n], first, there, size)
            run(start(m[n]), work, to, rows, shape, size)
            clear(back, rows.size * size)
            _take(at(back, up * size), grad[n], first, there, size)
            run_back(start(m[n]), work, back, start(dm[n]), to, rows, shape, size)
            _put(dx[n], back, first, there, size)
    return dm


@compiled
def _take(w, x, first, there, size):
    """Write rows of samples to ``w``, and zeros behind them."""
    for r in range(len(x)):
        row = at(w, r * size)
        copy(row, at(start(x), r * x.shape[1] + first), there)
        clear(at(row, there), size - there)


@compiled
def _put(x, w, first, there, size):
    """Undo :func:`_take`."""
    for r in range(len(x)):
        copy(at(start(x), r * x.shape[1] + first), at(w, r * size), there)
