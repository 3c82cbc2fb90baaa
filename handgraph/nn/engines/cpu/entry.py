"""Entry points of compiled code: all branches and samples of a plan, forward and backward.

Slots are rows of (address, branch stride, row stride). Slot 0 is the memory of the shared values.
``ends`` are rows of (address, strides of branches, nodes, channels and samples, nodes, channels).
All strides are in elements.
"""

from __future__ import annotations

from handgraph.nn.engines.cpu.compile import compiled, entry
from handgraph.nn.engines.cpu.products import clear, copy, padded
from handgraph.nn.engines.cpu.shared import share, share_back
from handgraph.nn.engines.cpu.stages import run, run_back
from handgraph.nn.engines.cpu.tiles import at, pointer, start


@entry
def forward(w, sizes, slots, ends, graphs, tables, shifts, stages, terms, vectors, selected):
    """Compute the shared values, and write the output.

    Args:
        w: Memory of the rows of a block.
        sizes: Branches, samples, samples of a block, row of the output, rows.
        slots: The slots of the tensors of the plan.
        ends: The input and the output.
        graphs, tables, shifts, stages, terms, vectors, selected: The program.
    """
    branches, samples, block, out_row, _ = sizes
    row, work = slots[:, 2].copy(), start(w)
    for n in range(branches):
        share(w, _of_branch(w, slots, n), row, graphs, tables, shifts)
    for first in range(0, samples, block):
        there = min(block, samples - first)
        size = 1 if block == 1 else padded(there)
        for n in range(branches):
            address = _of_branch(w, slots, n)
            _take(w, work, ends[0], n, first, there, size)
            _take_vectors(w, work, address, vectors, samples, first, there, size)
            run(w, work, address, row, stages, terms, selected, size)
            _put(w, at(work, out_row * size), ends[1], n, first, there, size)


@entry
def backward(
    w,
    g,
    sizes,
    slots,
    found,
    ends,
    graphs,
    tables,
    shifts,
    stages,
    terms,
    vectors,
    selected,
):
    """Write the gradient of the input, and add those of the tensors to ``found``.

    Slot 0 contains the shared values. ``ends`` are the input, the gradient of the output, and the
    gradient of the input. For the other arguments see :func:`forward`.
    """
    branches, samples, block, out_row, rows = sizes
    row, work, back = slots[:, 2].copy(), start(w), start(g)
    for first in range(0, samples, block):
        there = min(block, samples - first)
        size = padded(there)
        for n in range(branches):
            address, grads = _of_branch(w, slots, n), _of_branch(w, found, n)
            _take(w, work, ends[0], n, first, there, size)
            _take_vectors(w, work, address, vectors, samples, first, there, size)
            run(w, work, address, row, stages, terms, selected, size)
            clear(back, rows * size)
            _take(w, at(back, out_row * size), ends[1], n, first, there, size)
            run_back(w, work, back, address, row, grads, stages, terms, size)
            _put(w, back, ends[2], n, first, there, size)
            _put_vectors(w, back, grads, vectors, samples, first, there, size)
    for n in range(branches):
        address, grads = _of_branch(w, slots, n), _of_branch(w, found, n)
        share_back(w, address, row, grads, graphs, tables, shifts)


@compiled
def _of_branch(like, slots, n):
    """Return the addresses of a branch."""
    return slots[:, 0] + n * slots[:, 1] * like.itemsize


@compiled
def _take(like, w, end, n, first, there, size):
    """Copy rows of samples to ``w``, padded with zeros."""
    address, by_branch, by_node, by_channel, by_sample, nodes, channels = end
    x = at(pointer(like, address), n * by_branch + first * by_sample)
    for j in range(nodes):
        for c in range(channels):
            mine, its = at(w, (j * channels + c) * size), at(x, j * by_node + c * by_channel)
            if by_sample == 1:
                copy(mine, its, there)
            else:
                for s in range(there):
                    mine[s] = its[s * by_sample]
            clear(at(mine, there), size - there)


@compiled
def _put(like, w, end, n, first, there, size):
    """Copy rows of ``w`` back to samples."""
    address, by_branch, by_node, by_channel, by_sample, nodes, channels = end
    x = at(pointer(like, address), n * by_branch + first * by_sample)
    for j in range(nodes):
        for c in range(channels):
            mine, its = at(w, (j * channels + c) * size), at(x, j * by_node + c * by_channel)
            if by_sample == 1:
                copy(its, mine, there)
            else:
                for s in range(there):
                    its[s * by_sample] = mine[s]


@compiled
def _take_vectors(like, w, address, vectors, samples, first, there, size):
    """Copy the factors of scales to their rows, padded with zeros."""
    for slot, row, nodes in vectors:
        x = at(pointer(like, address[slot]), first)
        for j in range(nodes):
            mine = at(w, (row + j) * size)
            copy(mine, at(x, j * samples), there)
            clear(at(mine, there), size - there)


@compiled
def _put_vectors(like, g, found, vectors, samples, first, there, size):
    """Copy the gradients of factors out of their rows."""
    for slot, row, nodes in vectors:
        x = at(pointer(like, found[slot]), first)
        for j in range(nodes):
            copy(at(x, j * samples), at(g, (row + j) * size), there)
