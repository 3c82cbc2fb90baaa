"""A plan cut into tiles: the lists of integers that the kernels walk.

The kernels keep what they compute of a block of samples in a scratch, one row a sample: the input
and the output of each stage beside each other, each filled up with zeros to whole tiles, and behind
them the gradients in the same order. Places in the scratch are counted in tiles.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan


class Tile(NamedTuple):
    """One tile to compute, as a sum of terms. A width of 0 means that there is no such thing.

    Args:
        place: Where it goes in the scratch.
        width: How many columns it has; the others are 0.
        bias, bias_width: Its bias in the table.
        relu_width: How much of it goes through a ReLU.
        gate, gate_width: The place of what was behind that ReLU, where it is a gradient.
        first, last: Its first term, and the one behind its last.
    """

    place: int
    width: int
    bias: int
    bias_width: int
    relu_width: int
    gate: int
    gate_width: int
    first: int
    last: int


class Term(NamedTuple):
    """One product: a tile of the scratch times a part of the table, transposed on the way back.

    Args:
        place: Which tile of the scratch.
        start, step: Where the part begins in the table, and the length of the matrix's rows.
        height, width: Its size, which the table's order gives: not transposed.
    """

    place: int
    start: int
    step: int
    height: int
    width: int


class Product(NamedTuple):
    """The gradient of a part of a matrix: the product of two tiles over the samples.

    Args:
        left, right: The places of the activation and of the gradient.
        start, step, height, width: The part, as in a :class:`Term`.
    """

    left: int
    right: int
    start: int
    step: int
    height: int
    width: int


class Sum(NamedTuple):
    """The gradient of a part of a bias: the sum of a tile over the samples."""

    place: int
    start: int
    width: int


class Program(NamedTuple):
    """All that the kernels do for one plan: tensors of integers, one row an entry.

    Args:
        tiles, back: The tiles of the way forward and of the way back.
        terms, back_terms: What they sum.
        products, sums: The gradient of the table.
        out: The place of the output; behind it by ``half``, that of its gradient.
        half: How many tiles of the scratch hold activations; as many hold gradients.
    """

    tiles: Tensor
    terms: Tensor
    back: Tensor
    back_terms: Tensor
    products: Tensor
    sums: Tensor
    out: int
    half: int


class _Layout:
    """Where everything stands: activations in the scratch, matrices and biases in the table."""

    def __init__(self, plan: Plan, tile: int):
        self.plan, self.tile = plan, tile
        counts = [-(-width // tile) for width in plan.widths]
        self.places = [0, *accumulate(counts)]
        self.half = self.places[-1]
        starts = [0, *accumulate(rows * columns for rows, columns in plan.matrices())]
        self.edges: list[tuple[int, int, int]] = []  # source, stage, start in the table
        self.biases: list[int] = []
        shift = 0  # the biases that stand between the matrices
        for number, stage in enumerate(plan.stages, start=1):
            for source in stage.sources:
                self.edges.append((source, number, starts[len(self.edges)] + shift))
            self.biases.append(starts[len(self.edges)] + shift)
            shift += stage.width

    def cut(self, activation: int) -> list[tuple[int, int]]:
        """Number and width of the tiles of an activation."""
        width = self.plan.widths[activation]
        return [(i, min(self.tile, width - i * self.tile)) for i in range(-(-width // self.tile))]

    def part(self, start: int, i: int, j: int, step: int) -> int:
        """Where tile (i, j) of a matrix with rows of length ``step`` begins in the table."""
        return start + i * self.tile * step + j * self.tile

    def forward(self) -> tuple[list[Tile], list[Term]]:
        tiles: list[Tile] = []
        terms: list[Term] = []
        for number, stage in enumerate(self.plan.stages, start=1):
            into = [edge for edge in self.edges if edge[1] == number]
            for j, width in self.cut(number):
                first = len(terms)
                for source, _, start in into:
                    for i, height in self.cut(source):
                        part = self.part(start, i, j, stage.width), stage.width, height, width
                        terms.append(Term(self.places[source] + i, *part))
                bias = self.biases[number - 1] + j * self.tile, width
                relu = width if stage.relu else 0
                place = self.places[number] + j
                tiles.append(Tile(place, width, *bias, relu, 0, 0, first, len(terms)))
        return tiles, terms

    def back(self) -> tuple[list[Tile], list[Term]]:
        tiles: list[Tile] = []
        terms: list[Term] = []
        for number in reversed(range(len(self.plan.stages))):
            relu = number > 0 and self.plan.stages[number - 1].relu
            out_of = [edge for edge in self.edges if edge[0] == number]
            for i, height in self.cut(number):
                first = len(terms)
                for _, reader, start in out_of:
                    step = self.plan.widths[reader]
                    for j, width in self.cut(reader):
                        part = self.part(start, i, j, step), step, height, width
                        terms.append(Term(self.half + self.places[reader] + j, *part))
                place = self.places[number] + i
                gate = place, height if relu else 0
                tiles.append(Tile(self.half + place, height, 0, 0, 0, *gate, first, len(terms)))
        return tiles, terms

    def products(self) -> list[Product]:
        found = []
        for source, number, start in self.edges:
            step = self.plan.widths[number]
            for i, height in self.cut(source):
                for j, width in self.cut(number):
                    left, right = self.places[source] + i, self.half + self.places[number] + j
                    part = self.part(start, i, j, step), step, height, width
                    found.append(Product(left, right, *part))
        return found

    def sums(self) -> list[Sum]:
        return [
            Sum(self.half + self.places[number] + j, start + j * self.tile, width)
            for number, start in enumerate(self.biases, start=1)
            for j, width in self.cut(number)
        ]


@cache
def program(plan: Plan, tile: int, device: torch.device) -> Program:
    """Cut a plan into tiles of ``tile`` by ``tile``, on a device."""
    layout = _Layout(plan, tile)
    lists = *layout.forward(), *layout.back(), layout.products(), layout.sums()
    tiles, terms, back, back_terms, products, sums = (
        torch.tensor(rows, dtype=torch.int32, device=device) for rows in lists
    )
    out, half = layout.places[-2], layout.half
    return Program(tiles, terms, back, back_terms, products, sums, out, half)
