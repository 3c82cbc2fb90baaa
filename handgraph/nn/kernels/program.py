"""A plan cut into tiles: the lists of integers that the kernels walk.

The kernels keep what they compute of a block of samples in a scratch, one row a sample: the input
and the output of each stage beside each other, each filled up with zeros to whole tiles, and behind
them the gradients in the same order. Places in the scratch are counted in tiles, and parts of the
matrices as they come in the table, where they stand in the order of the terms that read them.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.kernels.kept import kept
from handgraph.nn.kernels.plan import Plan


class Tile(NamedTuple):
    """One tile to compute, as a sum of terms.

    Args:
        place: Where it goes in the scratch.
        width: How many columns it has; the others are 0.
        relu: Whether it goes through a ReLU, or on the way back through the derivative of one.
        first, last: Its first term, and the one behind its last.
    """

    place: int
    width: int
    relu: bool
    first: int
    last: int


class Term(NamedTuple):
    """One product: a tile of the scratch times a part of a matrix, transposed on the way back."""

    place: int
    part: int


AHEAD = Term(0, 0)
"""Behind the last: the kernels load a part ahead."""


class Product(NamedTuple):
    """The gradient of a part: the product of an activation and a gradient over the samples."""

    left: int
    right: int


class Program(NamedTuple):
    """All that the kernels do for one plan: tensors of integers, one row an entry.

    Args:
        tiles, back: The tiles of the way forward and of the way back.
        terms, back_terms: What they sum, and one more.
        products: The gradients of the parts, in their order.
        out: The place of the output; behind it by ``half``, that of its gradient.
        half: How many tiles of the scratch hold activations; as many hold gradients.
    """

    tiles: Tensor
    terms: Tensor
    back: Tensor
    back_terms: Tensor
    products: Tensor
    out: int
    half: int


_At = tuple[int, int]
"""An activation, and one of its tiles."""


class _Part(NamedTuple):
    """A part of a matrix: which tile of its source it takes to which tile of its stage."""

    source: _At
    target: _At


class _Layout:
    """Where everything stands: activations in the scratch, parts in the table."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.starts = [0, *accumulate(plan.tiles)]
        self.half = self.starts[-1]
        self.parts = [
            _Part((source, row), (number, column))
            for number, stage in enumerate(plan.stages, start=1)
            for column in range(plan.tiles[number])
            for source in stage.sources
            for row in range(plan.tiles[source])
        ]

    def place(self, at: _At) -> int:
        activation, tile = at
        return self.starts[activation] + tile

    def width(self, at: _At) -> int:
        activation, tile = at
        return min(self.plan.tile, self.plan.widths[activation] - tile * self.plan.tile)

    def relu(self, activation: int) -> bool:
        return activation > 0 and self.plan.stages[activation - 1].relu

    def forward(self) -> tuple[list[Tile], list[Term]]:
        tiles: list[Tile] = []
        terms: list[Term] = []
        for number in range(1, len(self.plan.widths)):
            for column in range(self.plan.tiles[number]):
                at, first = (number, column), len(terms)
                for p, part in enumerate(self.parts):
                    if part.target == at:
                        terms.append(Term(self.place(part.source), p))
                where = self.place(at), self.width(at), self.relu(number)
                tiles.append(Tile(*where, first, len(terms)))
        return tiles, [*terms, AHEAD]

    def back(self) -> tuple[list[Tile], list[Term]]:
        tiles: list[Tile] = []
        terms: list[Term] = []
        for number in reversed(range(len(self.plan.stages))):
            for row in range(self.plan.tiles[number]):
                at, first = (number, row), len(terms)
                for p, part in enumerate(self.parts):
                    if part.source == at:
                        terms.append(Term(self.half + self.place(part.target), p))
                where = self.half + self.place(at), self.width(at), self.relu(number)
                tiles.append(Tile(*where, first, len(terms)))
        return tiles, [*terms, AHEAD]

    def products(self) -> list[Product]:
        return [
            Product(self.place(part.source), self.half + self.place(part.target))
            for part in self.parts
        ]


@kept
def program(plan: Plan, device: torch.device) -> Program:
    """Write a plan out as lists, on a device."""
    layout = _Layout(plan)
    lists = *layout.forward(), *layout.back(), layout.products()
    tiles, terms, back, back_terms, products = (
        torch.tensor(rows, dtype=torch.int32, device=device) for rows in lists
    )
    out, half = layout.starts[-2], layout.half
    return Program(tiles, terms, back, back_terms, products, out, half)
