"""A plan written out as tables of integers, which the compiled functions read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.nn.plan import Shape

Table = NDArray[np.int64]

NODES_FIRST, CHANNELS_FIRST, CHANNELS, NODES, SAME, GATHER = range(6)
"""What a term does: both maps in one order or the other, one of them, none, or a selection."""


class Tables(NamedTuple):
    """What there is to do. A slot is a tensor of the plan, from 1 on; slot 0 holds fused maps.

    Args:
        graphs: Adjacencies to normalise: slot, nodes, whether signed, where the result goes.
        products: Maps before a graph: where the graph is, its nodes, slot, columns, where to.
        tables: Biases of nodes: slot or 0, step from node to node, nodes, channels, where to.
        shifts: What maps over nodes add to biases: slot, where in it, slot of the weight, where the
            table is, nodes, channels out and in.
        stages: Row of the output, nodes, channels; slot of the bias or -1, where in it, step from
            node to node; ReLU; rows of the scale, of the gate, of the sum before the scale, of the
            output before the gate, or -1; first term and the one behind the last.
        terms: What it does; row of what it reads, nodes and channels of that; nodes and channels of
            the result; slot of the matrix and where in it; slot of the weight; row of what stands
            between the two.
        vectors: Scales and gates: slot, row of the work space, nodes.
        selected: The nodes that terms select, -1 for zeros.
    """

    graphs: Table
    products: Table
    tables: Table
    shifts: Table
    stages: Table
    terms: Table
    vectors: Table
    selected: Table


class Program(NamedTuple):
    """A plan for inputs of one shape.

    Args:
        tables: What there is to do.
        shapes: The shape of the input, then of the output of each stage.
        fused: How many numbers the fused maps of a branch take.
        rows: How many rows the work space has.
        out: The first row of the output; the input begins at row 0.
        slots: The fused maps, then each tensor of the plan: room for its address, numbers from
            branch to branch and from row to row.
        found: The same for their gradients.
        copied: Which tensors, from 0 on, have to be copied first: not contiguous, and no weights.
    """

    tables: Tables
    shapes: tuple[Shape, ...]
    fused: int
    rows: int
    out: int
    slots: Table
    found: Table
    copied: tuple[int, ...]
