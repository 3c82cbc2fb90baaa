"""Chains of dense maps, and the lists of products that the kernel reads.

The kernel stores the activations of a sample in one row of scratch memory, and their gradients in
another one. Each step is zero-padded to whole tiles. Places in a row are counted in tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.plan import Shape


class Step(NamedTuple):
    """An input, or a sum of products of earlier steps with dense matrices, plus a bias.

    Args:
        width: Its size in one branch.
        reads: The steps that it reads; none for an input.
        relu: Whether a ReLU follows.
    """

    width: int
    reads: tuple[int, ...] = ()
    relu: bool = False


class Program(NamedTuple):
    """The structure of a chain.

    Args:
        out: The shape of its output. All steps have as many branches.
        steps: Its inputs, then the other steps. The last one is the output.
        tile: Rows and columns of the parts of matrices; a power of two, 16 or more.
    """

    out: Shape
    steps: tuple[Step, ...]
    tile: int

    @property
    def starts(self) -> list[int]:
        """The place of each step, then the number of tiles of a row."""
        return [0, *accumulate(-(-step.width // self.tile) for step in self.steps)]

    @property
    def first(self) -> int:
        """The place of the first step that is not an input."""
        return self.starts[sum(not step.reads for step in self.steps)]


@cache
def products(program: Program, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the products of the forward pass and of the backward pass.

    A product has six integers: the place of a tile, the number of the part of a matrix that it is
    multiplied with, the place of the sum, its number of columns, whether it has a ReLU, and whether
    the product is its last one. Parts are numbered in the order of the forward pass. A last row
    belongs to no product; it is only prefetched.
    """
    steps, starts = program.steps, program.starts
    spans = [range(*ends) for ends in pairwise(starts)]
    pairs = [
        (source, target)
        for step, span in zip(steps, spans, strict=True)
        for target in span
        for read in step.reads
        for source in spans[read]
    ]
    ahead = [(source, part, target) for part, (source, target) in enumerate(pairs)]
    back = sorted([product[::-1] for product in ahead], key=itemgetter(2), reverse=True)
    return _rows(ahead, program).to(device), _rows(back, program).to(device)


def _rows(found: Sequence[tuple[int, ...]], program: Program) -> Tensor:
    """Return rows of six integers from the first three."""
    tile = program.tile
    sizes = [
        (min(tile, step.width - start), step.relu)
        for step in program.steps
        for start in range(0, step.width, tile)
    ]
    lasts = [*(one[2] != then[2] for one, then in pairwise(found)), True]
    rows = [(*one, *sizes[one[2]], last) for one, last in zip(found, lasts, strict=True)]
    return torch.tensor([*rows, (0,) * 6], dtype=torch.int32, device="cpu")
