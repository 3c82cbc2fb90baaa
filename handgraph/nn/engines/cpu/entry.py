"""Entry points of compiled code: all branches and samples of a plan, forward and backward.

Slots are rows of (address, branch stride, row stride). Slot 0 is the memory of the shared values.
Ends are the tensors of samples, as rows of (row of the work space, address, strides of branches,
nodes, channels and samples, nodes, channels). All strides are in elements.
"""

from __future__ import annotations

from handgraph.nn.engines.cpu.compile import compiled, entry
from handgraph.nn.engines.cpu.products import clear, copy, padded
from handgraph.nn.engines.cpu.shared import share, share_back
from handgraph.nn.engines.cpu.stages import run, run_back
from handgraph.nn.engines.cpu.tiles import at, pointer, start


@entry
def forward(w, sizes, slots, inputs, outputs, tables):
    """Compute the shared values, and write the output.

    Args:
        w: Memory of the rows of a block.
        sizes: Branches, samples, samples of a block.
        slots: The slots of the tensors of the plan.
        inputs: The ends of the input and of the factors of scales.
        outputs: The end of the output.
        tables: The work.
    """
    branches, samples, block = sizes
    row, work = slots[:, 2].copy(), start(w)
    for n in range(branches):
        share(w, _of_branch(w, slots, n), row, tables)
    for first in range(0, samples, block):
        there = min(block, samples - first)
        size = 1 if block == 1 else padded(there)
        for n in range(branches):
            _take(w, work, inputs, n, first, there, size)
            run(w, work, _of_branch(w, slots, n), row, tables, size)
            _put(w, work, outputs, n, first, there, size)


@entry
def backward(w, g, sizes, slots, found, inputs, outputs, gradients, tables):
    """Write the gradients of the inputs, and add those of the tensors to ``found``.

    Args:
        w, g: Memory of the rows of a block, and of their gradients.
        sizes, slots, inputs, tables: As for :func:`forward`; slot 0 contains the shared values.
        found: The slots of the gradients of the tensors.
        outputs: The end of the gradient of the output.
        gradients: The ends of the gradients of the inputs.
    """
    branches, samples, block = sizes
    row, work, back = slots[:, 2].copy(), start(w), start(g)
    for first in range(0, samples, block):
        there = min(block, samples - first)
        size = padded(there)
        for n in range(branches):
            address, grads = _of_branch(w, slots, n), _of_branch(w, found, n)
            _take(w, work, inputs, n, first, there, size)
            run(w, work, address, row, tables, size)
            clear(back, len(g) // block * size)
            _take(w, back, outputs, n, first, there, size)
            run_back(w, work, back, address, row, grads, tables, size)
            _put(w, back, gradients, n, first, there, size)
    for n in range(branches):
        share_back(w, _of_branch(w, slots, n), row, _of_branch(w, found, n), tables)


@compiled
def _of_branch(like, slots, n):
    """Return the addresses of a branch."""
    return slots[:, 0] + n * slots[:, 1] * like.itemsize


@compiled
def _take(like, w, ends, n, first, there, size):
    """Copy samples to their rows, padded with zeros."""
    for row, address, by_branch, by_node, by_channel, by_sample, nodes, channels in ends:
        x = at(pointer(like, address), n * by_branch + first * by_sample)
        for j in range(nodes):
            for c in range(channels):
                mine = at(w, (row + j * channels + c) * size)
                _copy_strided(mine, 1, at(x, j * by_node + c * by_channel), by_sample, there)
                clear(at(mine, there), size - there)


@compiled
def _put(like, w, ends, n, first, there, size):
    """Copy rows back to their samples."""
    for row, address, by_branch, by_node, by_channel, by_sample, nodes, channels in ends:
        x = at(pointer(like, address), n * by_branch + first * by_sample)
        for j in range(nodes):
            for c in range(channels):
                mine = at(w, (row + j * channels + c) * size)
                _copy_strided(at(x, j * by_node + c * by_channel), by_sample, mine, 1, there)


@compiled
def _copy_strided(out, step_out, x, step_x, size):
    """``out[::step_out][:size] = x[::step_x][:size]``."""
    if step_out == 1 and step_x == 1:
        copy(out, x, size)
    else:
        for s in range(size):
            out[s * step_out] = x[s * step_x]
