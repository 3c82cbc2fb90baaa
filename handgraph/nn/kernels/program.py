"""A plan cut into tiles: the lists of integers that the kernels walk.

The kernels keep what they compute of a block of samples in a scratch, one row a sample: the input
and the output of each stage beside each other, each filled up with zeros to whole tiles, and behind
them the gradients in the same order. Places in the scratch are counted in tiles, and parts of the
matrices as they come in the table, where they stand in the order of the terms that read them.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.plan import Plan


class Tile(NamedTuple):
    """One tile to compute, as a sum of terms.

    Args:
        place: Where it goes in the scratch.
        width: How many columns it has; the others are 0.
        gate: On the way forward, whether it goes through a ReLU. On the way back, the place of what
            was behind that ReLU; for none a number so small that no column's sum with it is 0.
        first, last: Its first term, and the one behind its last.
    """

    place: int
    width: int
    gate: int
    first: int
    last: int


class Term(NamedTuple):
    """One product: a tile of the scratch times a part of a matrix, transposed on the way back."""

    place: int
    part: int


class Product(NamedTuple):
    """The gradient of a part: the product of an activation and a gradient over the samples."""

    left: int
    right: int


class Program(NamedTuple):
    """All that the kernels do for one plan: tensors of integers, one row an entry.

    Args:
        tiles, back: The tiles of the way forward and of the way back.
        terms, back_terms: What they sum.
        products: The gradients of the parts, in their order.
        sums: The places of the gradients of the tiles of ``tiles``, which are summed for biases.
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


class _Part(NamedTuple):
    """A part of a matrix: which tile of its source it takes to which tile of its stage."""

    source: int
    row: int
    stage: int
    column: int


class _Layout:
    """Where everything stands: activations in the scratch, parts in the table."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.starts = [0, *accumulate(plan.tiles)]
        self.half = self.starts[-1]
        self.parts = [
            _Part(source, row, number, column)
            for number, stage in enumerate(plan.stages, start=1)
            for column in range(plan.tiles[number])
            for source in stage.sources
            for row in range(plan.tiles[source])
        ]

    def place(self, activation: int, tile: int) -> int:
        return self.starts[activation] + tile

    def width(self, activation: int, tile: int) -> int:
        return min(self.plan.tile, self.plan.widths[activation] - tile * self.plan.tile)

    def forward(self) -> tuple[list[Tile], list[Term]]:
        tiles: list[Tile] = []
        terms: list[Term] = []
        for number, stage in enumerate(self.plan.stages, start=1):
            for column in range(self.plan.tiles[number]):
                into = [p for p, part in enumerate(self.parts) if part[2:] == (number, column)]
                first = len(terms)
                terms += [Term(self.place(*self.parts[part][:2]), part) for part in into]
                at = self.place(number, column), self.width(number, column)
                tiles.append(Tile(*at, int(stage.relu), first, len(terms)))
        return tiles, terms

    def back(self) -> tuple[list[Tile], list[Term]]:
        tiles: list[Tile] = []
        terms: list[Term] = []
        for number in reversed(range(len(self.plan.stages))):
            relu = number > 0 and self.plan.stages[number - 1].relu
            for row in range(self.plan.tiles[number]):
                out_of = [p for p, part in enumerate(self.parts) if part[:2] == (number, row)]
                first, place = len(terms), self.place(number, row)
                terms += [
                    Term(self.half + self.place(*self.parts[part][2:]), part) for part in out_of
                ]
                at = self.half + place, self.width(number, row), place if relu else -self.plan.tile
                tiles.append(Tile(*at, first, len(terms)))
        return tiles, terms

    def products(self) -> list[Product]:
        return [
            Product(self.place(*part[:2]), self.half + self.place(*part[2:])) for part in self.parts
        ]


@cache
def program(plan: Plan, device: torch.device) -> Program:
    """Write a plan out as lists, on a device."""
    layout = _Layout(plan)
    sums = range(layout.half + layout.starts[1], 2 * layout.half)
    lists = *layout.forward(), *layout.back(), layout.products(), sums
    tiles, terms, back, back_terms, products, sums_ = (
        torch.tensor(rows, dtype=torch.int32, device=device) for rows in lists
    )
    out, half = layout.starts[-2], layout.half
    return Program(tiles, terms, back, back_terms, products, sums_, out, half)
