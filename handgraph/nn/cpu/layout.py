"""Where everything lies in the flat arrays of the compiled net."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.nn.kernels.sizes import Sizes

Integers = NDArray[np.int64]


class Shape(NamedTuple):
    """How large the stages are; the last stage down is the first layer of the bottleneck.

    Shapes:
        - nodes: ``[L + 1]``, of the levels
        - comes: ``[L + 1]``, nodes that come to each stage down
        - widths: ``[L + 2]``, channels that come to each stage down, then the bottleneck's
        - goes: ``[L]``, nodes that each stage up gives
        - outs: ``[L]``, channels that each stage up gives
    """

    nodes: Integers
    comes: Integers
    widths: Integers
    goes: Integers
    outs: Integers


class Parameters(NamedTuple):
    """Where the parameters of each level start, within those of a branch; and all in order."""

    starts: Integers
    adjacency: Integers
    down: Integers
    down_bias: Integers
    up: Integers
    up_bias: Integers
    pool: Integers
    pool_bias: Integers
    unpool: Integers
    unpool_bias: Integers
    expand: int
    expand_bias: int


class Maps(NamedTuple):
    """Where the maps of each stage start, within those of a branch; in the order of the fields."""

    nodes: Integers
    node_bias: Integers
    channels: Integers
    channel_bias: Integers
    skip_nodes: Integers
    deep_nodes: Integers
    skip_channels: Integers
    deep_channels: Integers
    up_bias: Integers
    expand: int
    expand_bias: int
    size: int


class Rows(NamedTuple):
    """Which rows, of one number a sample, each intermediate takes; in the order of the fields.

    Stages down: their input with nodes mixed, and their output. ``expanded`` is the output of the
    bottleneck. Stages up: the skip and what comes from below with channels mixed, and the output.
    """

    x: int
    mixed: Integers
    down: Integers
    expanded: int
    skip: Integers
    deep: Integers
    up: Integers
    size: int


class Layout(NamedTuple):
    """All that a compiled function has to know of a net."""

    shape: Shape
    parameters: Parameters
    maps: Maps
    rows: Rows


@cache
def layout(sizes: Sizes, out_nodes: int | None = None) -> Layout:
    """Lay out a net of these sizes.

    Args:
        sizes: Of the net.
        out_nodes: How many nodes its last stage gives, if a map over the nodes follows.
    """
    nodes = sizes.nodes
    comes, goes = (nodes[0], *nodes[:-1]), (out_nodes or nodes[0], *nodes[1:-1])
    widths = (sizes.in_channels, *sizes.widths, sizes.bottleneck)
    shape = Shape(*map(_array, (nodes, comes, widths, goes, (sizes.out_channels, *widths[1:-2]))))
    maps = _maps(map_shapes(sizes, int(shape.goes[0])))
    return Layout(shape, _parameters(sizes), maps, _rows(shape))


def map_shapes(sizes: Sizes, out_nodes: int) -> list[list[tuple[int, ...]]]:
    """The shapes of each field of all stages down, then up, and of the end of the bottleneck."""
    nodes, widths = sizes.nodes, (*sizes.widths, sizes.bottleneck)
    comes, ins = (nodes[0], *nodes), (sizes.in_channels, *sizes.widths)
    downs = list(zip(nodes, comes, widths, ins, strict=False))
    goes, outs = (out_nodes, *nodes[1:]), (sizes.out_channels, *sizes.widths)
    ups = list(zip(goes, nodes, nodes[1:], outs, sizes.widths, strict=False))
    return [
        [(n, m) for n, m, _, _ in downs],
        [(n, 1) for n, _, _, _ in downs],
        [(c, d) for _, _, c, d in downs],
        [(c, 1) for _, _, c, _ in downs],
        [(n, m) for n, m, _, _, _ in ups],
        [(n, m) for n, _, m, _, _ in ups],
        [(c, d) for _, _, _, c, d in ups],
        [(c, d) for _, _, _, c, d in ups],
        [(n, c, 1) for n, _, _, c, _ in ups],
        [(widths[-2], widths[-1]), (widths[-2], 1)],
    ]


def _array(numbers: Sequence[int]) -> Integers:
    return np.array(numbers, dtype=np.int64)


def _starts(*parts: Sequence[int] | Integers) -> tuple[list[Integers], int]:
    """Where numbers start that lie one behind the other, given as parts of sizes."""
    *starts, end = accumulate((int(size) for part in parts for size in part), initial=0)
    cuts = list(accumulate(map(len, parts)))[:-1]
    return np.split(_array(starts), cuts), end


def _parameters(sizes: Sizes) -> Parameters:
    starts, size = _starts(*([math.prod(s[1:]) for s in part] for part in sizes.shapes()))
    *levels, (squeeze, squeeze_bias, expand, expand_bias) = starts
    adjacency, down, down_bias, *others = np.stack(levels, axis=1)
    down, down_bias = np.append(down, squeeze), np.append(down_bias, squeeze_bias)
    everything = _array([*np.concatenate(starts), size])
    found: Any = [everything, adjacency, down, down_bias, *others, int(expand), int(expand_bias)]
    return Parameters(*found)


def _maps(shapes: list[list[tuple[int, ...]]]) -> Maps:
    starts, size = _starts(*([math.prod(shape) for shape in field] for field in shapes))
    found: Any = [*starts[:-1], *map(int, starts[-1]), size]
    return Maps(*found)


def _rows(shape: Shape) -> Rows:
    nodes, comes, widths, goes, outs = shape
    x, expanded = comes[:1] * widths[:1], nodes[-1:] * widths[-2:-1]
    downs, ups = (nodes * widths[:-1], nodes * widths[1:]), (nodes[:-1] * outs, nodes[1:] * outs)
    starts, size = _starts(x, *downs, expanded, *ups, goes * outs)
    x, mixed, down, expanded, skip, deep, up = starts
    return Rows(int(x[0]), mixed, down, int(expanded[0]), skip, deep, up, size)
