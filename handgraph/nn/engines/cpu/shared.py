"""Compiled computation of the values that all samples share, and of its derivative.

They are the normalised adjacencies, and the biases that maps over nodes add to. ``address`` holds
the address of each tensor of the plan, ``row`` the row stride of its matrix. Slot 0 is the memory
of the shared values. The tables are those of :class:`~handgraph.nn.engines.cpu.program.Tables`.
"""

from __future__ import annotations

import numpy as np

from handgraph.nn.adjacency import EPS
from handgraph.nn.engines.cpu.compile import compiled
from handgraph.nn.engines.cpu.tiles import at, pointer


@compiled
def share(like, address, row, tables):
    """Write the shared values of a branch."""
    shared = pointer(like, address[0])
    for slot, nodes, signed, to in tables.graphs:
        _normalize(like, at(shared, to), pointer(like, address[slot]), nodes, signed)
    for slot, per_node, nodes, channels, to in tables.biases:
        bias = pointer(like, address[slot])
        for j in range(nodes):
            for c in range(channels):
                at(shared, to)[j * channels + c] = bias[j * per_node + c] if slot > 0 else 0
    for slot, weight, to, nodes, outs, ins in tables.shifts:
        shift, matrix = pointer(like, address[slot]), pointer(like, address[weight])
        for c in range(outs):
            total = (
                _sum(like, at(matrix, c * row[weight]), ins) if weight > 0 else like.dtype.type(1)
            )
            for j in range(nodes):
                at(shared, to)[j * outs + c] += shift[j] * total


@compiled
def share_back(like, address, row, found, tables):
    """Add the gradients of the tensors to ``found``, from those of the shared values."""
    shared, grads = pointer(like, address[0]), pointer(like, found[0])
    for slot, weight, to, nodes, outs, ins in tables.shifts:
        shift, d_shift = pointer(like, address[slot]), pointer(like, found[slot])
        matrix, d_matrix = pointer(like, address[weight]), pointer(like, found[weight])
        for c in range(outs):
            total = (
                _sum(like, at(matrix, c * row[weight]), ins) if weight > 0 else like.dtype.type(1)
            )
            d_total = like.dtype.type(0)
            for j in range(nodes):
                grad = at(grads, to)[j * outs + c]
                d_shift[j] += grad * total
                d_total += grad * shift[j]
            for k in range(ins if weight > 0 else 0):
                d_matrix[c * ins + k] += d_total
    for slot, per_node, nodes, channels, to in tables.biases:
        if slot > 0:
            bias = pointer(like, found[slot])
            for j in range(nodes):
                for c in range(channels):
                    bias[j * per_node + c] += at(grads, to)[j * channels + c]
    for slot, nodes, signed, to in tables.graphs:
        entries, d_entries = pointer(like, address[slot]), pointer(like, found[slot])
        _unnormalize(like, d_entries, at(grads, to), at(shared, to), entries, nodes, signed)


@compiled
def _sum(like, x, size):
    total = like.dtype.type(0)
    for k in range(size):
        total += x[k]
    return total


@compiled
def _scale(like, adjacency, nodes, signed):
    """Return the inverse square root of each node's degree."""
    scale = np.full(nodes, like.dtype.type(EPS))
    for i in range(nodes):
        for j in range(nodes):
            entry = adjacency[i * nodes + j]
            scale[j] += entry if signed else abs(entry)
    for j in range(nodes):
        scale[j] = scale[j] ** like.dtype.type(-0.5)
    return scale


@compiled
def _normalize(like, laplacian, adjacency, nodes, signed):
    scale = _scale(like, adjacency, nodes, signed)
    for i in range(nodes):
        for j in range(nodes):
            laplacian[i * nodes + j] = scale[i] * adjacency[i * nodes + j] * scale[j]


@compiled
def _unnormalize(like, found, grad, laplacian, adjacency, nodes, signed):
    """Add the gradient of the adjacency, the derivative of :func:`_normalize`."""
    scale = _scale(like, adjacency, nodes, signed)
    degree = np.zeros(nodes, dtype=like.dtype)
    for i in range(nodes):
        for j in range(nodes):
            share = grad[i * nodes + j] * laplacian[i * nodes + j]
            degree[i] += share
            degree[j] += share
    half, one = like.dtype.type(0.5), like.dtype.type(1)
    for i in range(nodes):
        for j in range(nodes):
            sign = one if signed else np.sign(adjacency[i * nodes + j])
            through = half * degree[j] * scale[j] * scale[j] * sign
            found[i * nodes + j] += grad[i * nodes + j] * scale[i] * scale[j] - through
