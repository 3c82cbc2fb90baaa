"""A program divided into tiles: the lists of integers that the kernels read.

The kernels store the activations of a block of samples in scratch memory, one row per sample. A row
contains the inputs and the outputs of the steps, each zero-padded to whole tiles, then their
gradients in the same order. Places in the scratch are counted in tiles. Parts of matrices are
numbered in the order of the table, which is the order of the terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.engines.cuda.program import Program

_Pairs = list[tuple[int, int]]


class Lists(NamedTuple):
    """The lists of a program, one entry per row.

    Args:
        tiles, back: The tiles to compute, forward and backward: the place, the number of columns,
            whether a ReLU or its derivative applies, the first term, and one after the last term.
        terms, back_terms: The place of a tile, and the number of the part that it is multiplied
            with. The last entry belongs to no tile; it is only prefetched.
        products: The places of the activation and the gradient of each part.
        columns: The columns of a sample that each branch reads, padded to whole tiles with -1;
            ``None`` if it reads its own part. ``[N, W]``
        in_width: Number of columns that a branch reads.
        out, half: The place of the output, and of the first gradient.
    """

    tiles: Tensor
    terms: Tensor
    back: Tensor
    back_terms: Tensor
    products: Tensor
    columns: Tensor | None
    in_width: int
    out: int
    half: int


@cache
def lists(program: Program, device: torch.device) -> Lists:
    """Convert a program to lists on a device."""
    starts = [0, *accumulate(program.tiles)]
    spans = [range(*ends) for ends in pairwise(starts)]
    steps = list(zip(program.sources, spans[program.inputs :], strict=True))
    parts = [(a, b) for reads, span in steps for b in span for read in reads for a in spans[read]]
    out, half = starts[-2:]
    products = [(source, half + target) for source, target in parts]
    forward = _tiles(program, range(starts[program.inputs], half), 0, [(b, a) for a, b in parts])
    back = _tiles(program, reversed(range(out)), half, products)
    rows = (*forward, *back, products)
    made = [torch.tensor(row, dtype=torch.int32, device=device) for row in rows]
    columns = _columns(program, device) if program.columns else None
    width = program.widths[0] if columns is None else columns.shape[1]
    return Lists(*made, columns, width, out, half)  # type: ignore[call-arg, arg-type]


def _tiles(
    program: Program, places: Iterable[int], shift: int, reads: _Pairs
) -> tuple[list[tuple[int, ...]], _Pairs]:
    """Return the tiles at these places plus ``shift``, and their terms.

    For each part, ``reads`` has the tile of the sum, and the place of the other factor.
    """
    tile, relus = program.tile, [*[False] * program.inputs, *program.relus]
    pairs = zip(program.widths, relus, strict=True)
    sizes = [(min(tile, w - at), int(relu)) for w, relu in pairs for at in range(0, w, tile)]
    tiles: list[tuple[int, ...]] = []
    terms: _Pairs = []
    for place in places:
        found = [(source, part) for part, (at, source) in enumerate(reads) if at == place]
        tiles.append((place + shift, *sizes[place], len(terms), len(terms) + len(found)))
        terms += found
    return tiles, [*terms, (0, 0)]


def _columns(program: Program, device: torch.device) -> Tensor:
    index = torch.tensor(program.columns, dtype=torch.int32, device=device)
    inputs = index.split(list(program.widths[: program.inputs]), dim=1)
    return torch.cat([pad(i, (0, -i.shape[1] % program.tile), value=-1) for i in inputs], dim=1)
