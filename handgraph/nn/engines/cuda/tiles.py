"""A program cut into tiles: the lists of integers that the kernels walk.

The kernels keep the activations of a block of samples in a scratch, one row for each sample: the
inputs and the outputs of the steps beside each other, each filled up with zeros to whole tiles, and
behind them their gradients in the same order. Places in the scratch are counted in tiles. Parts of
matrices are counted in the order of the table, which is the order of the terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.engines.cuda.program import Program, decode

_Pairs = list[tuple[int, int]]


class Lists(NamedTuple):
    """The lists of a program, one row an entry.

    Args:
        tiles, back: The tiles to compute, forward and backward: the place, how many columns it has,
            whether a ReLU or its derivative applies, its first term, and the one behind its last.
        terms, back_terms: The place of a tile, and the number of the part that it is multiplied
            with. The last entry belongs to no tile; it is only loaded ahead.
        products: Of each part, the places of its activation and of its gradient.
        columns: The columns of a sample that each branch reads, filled up to whole tiles with -1;
            ``None`` if it reads its own part. ``[N, W]``
        in_width: How many columns a branch reads.
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
def lists(text: str, device: torch.device) -> Lists:
    """Write an encoded program out as lists, on a device."""
    program = decode(text)
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
    """The tiles at these places, or ``shift`` behind them, and their terms.

    Of each part, ``reads`` has the tile that it is summed to, and what it is multiplied with.
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
