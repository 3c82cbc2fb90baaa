"""Split, branches and ensemble network in one: the incomplete poses stay in the cache; compiled."""

from __future__ import annotations

from handgraph.nn.cpu.block import run
from handgraph.nn.cpu.products import clear, compiled, copy, fill, padded
from handgraph.nn.cpu.tiles import at, start


@compiled
def run_core(x, out, w, maps, merger_maps, branch, merger, column, place, constant, block):
    """Write the output, ``[B, W']``, of the input, ``[B, W]``.

    Args:
        x, out: The input and the output.
        w: Room for the rows of the input, of a branch and of the merger, ``block`` numbers each.
        maps, merger_maps: Of the branches, ``[N, M]``, and of the merger, ``[1, M']``.
        branch, merger: Where and how large everything is in them, as :func:`run` takes it.
        column: Which column of the input each row of a branch takes; -1 for zeros, ``[N, R]``.
        place: Which row of the merger each output of a branch goes to; -1 for none, ``[N, R']``.
        constant: What the rows of the merger hold otherwise.
        block: How many samples are taken at once.
    """
    rows, merger_rows = branch[1], merger[1]
    for first in range(0, len(x), block):
        there = min(block, len(x) - first)
        size = padded(there)
        come = start(w)
        work = at(come, x.shape[1] * size)
        joints = at(work, rows.size * size)
        _transpose(come, x, first, there, size)
        fill(joints, start(constant), 1, len(constant), size)
        for n in range(len(maps)):
            _copy_from(work, come, column[n], size)
            run(start(maps[n]), work, *branch, size)
            _copy_to(joints, at(work, rows.up[0] * size), place[n], size)
        run(start(merger_maps[0]), joints, *merger, size)
        _transpose_back(out, at(joints, merger_rows.up[0] * size), first, there, size)


@compiled
def _transpose(w, x, first, there, size):
    """Write the columns of x as rows of ``w``, and zeros behind them."""
    come = at(start(x), first * x.shape[1])
    for r in range(x.shape[1]):
        row = at(w, r * size)
        for s in range(there):
            row[s] = come[s * x.shape[1] + r]
        clear(at(row, there), size - there)


@compiled
def _transpose_back(out, w, first, there, size):
    """Undo :func:`_transpose`."""
    go = at(start(out), first * out.shape[1])
    for s in range(there):
        for r in range(out.shape[1]):
            go[s * out.shape[1] + r] = w[r * size + s]


@compiled
def _copy_from(w, x, column, size):
    for r in range(len(column)):
        if column[r] >= 0:
            copy(at(w, r * size), at(x, column[r] * size), size)
        else:
            clear(at(w, r * size), size)


@compiled
def _copy_to(out, w, place, size):
    for r in range(len(place)):
        if place[r] >= 0:
            copy(at(out, place[r] * size), at(w, r * size), size)
