"""Plans as tables of integers for the compiled functions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.nn.plan import Shape

Table = NDArray[np.int64]

NODES_FIRST, CHANNELS_FIRST, CHANNELS, NODES, SAME, GATHER, SCALED = range(7)
"""Kinds of terms: both maps in either order, one of them, none, a selection of nodes, or a product
with a factor for each node and sample."""


class Tables(NamedTuple):
    """The work of a program. Slots are the tensors of the plan, from 1; slot 0 holds shared values.

    Args:
        graphs: Adjacencies to normalise: slot, nodes, whether signed, offset of the result.
        biases: Biases of nodes: slot or 0, node stride, nodes, channels, offset of the result.
        shifts: Biases of maps over nodes, added to biases: slot, slot of the weight, offset of the
            table, nodes, output and input channels.
        stages: Row of the output, nodes, channels; slot of the bias or -1, its offset and node
            stride; ReLU; first term, and one after the last.
        terms: Kind; row, nodes and channels of the source; nodes and channels of the result; slot
            and offset of the matrix; slot of the weight; row of the intermediate between the maps
            or of the factors, or the first of the selected nodes.
        selected: The nodes that terms select, -1 for zeros.
    """

    graphs: Table
    biases: Table
    shifts: Table
    stages: Table
    terms: Table
    selected: Table


class Program(NamedTuple):
    """A plan for inputs of one shape.

    Args:
        tables: The work.
        scales: Factors of scales: slot, row of the work space, nodes.
        shapes: The shape of the input, then of the output of each stage.
        shared: Number of shared values of a branch.
        rows: Number of rows of the work space.
        out: The first row of the output; the input begins at row 0.
        slots: The shared values, then each tensor of the plan: a placeholder for its address, its
            branch stride and its row stride.
        found: The same for their gradients.
        copied: The tensors, from 0, to copy first: not contiguous, except weights with dense rows.
    """

    tables: Tables
    scales: tuple[tuple[int, int, int], ...]
    shapes: tuple[Shape, ...]
    shared: int
    rows: int
    out: int
    slots: Table
    found: Table
    copied: tuple[int, ...]
