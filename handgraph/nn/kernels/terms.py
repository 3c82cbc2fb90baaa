r"""Many sums of products as lists of integers for a kernel: a table's entries, or its derivative.

.. math:: y_e = \sum_{k:\, e_k = e} u_{p_k} v_{q_k}

Sums of about equal length are added up together, so that short ones share a program and a long one
has many threads. Each comes out the same every time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

SIZE = 512
"""How many terms a program takes at a time."""
GROWTH = 8
COLUMNS = tuple(GROWTH**kind for kind in range(4))
"""How many of them belong to one sum: 1 where sums have up to 8 terms, 8 where up to 64, ..."""


class Terms(NamedTuple):
    """The lists of the kernel; -1 is no sum, no first factor, and 1 as second factor.

    Args:
        tiles: For each program its ``COLUMNS``, its first term, the one behind its last, and its
            first sum. ``[*, 4]``
        sums: Which entry of the result each sum is.
        left, right: The factors of the terms: ``[SIZE / COLUMNS, COLUMNS]``, and again.
    """

    tiles: Tensor
    sums: Tensor
    left: Tensor
    right: Tensor

    @staticmethod
    def of(entries: Tensor, left: Tensor, right: Tensor, size: int) -> Terms:
        """List the terms of ``size`` sums: to which entry each belongs, and its factors."""
        order = entries.argsort(stable=True)
        counts = entries.bincount(minlength=size)
        nth = torch.arange(len(entries)) - (counts.cumsum(0) - counts)[entries[order]]
        tiles, sums, first, columns = _tiles(counts)
        of_term = entries[order]
        at = first[of_term] + nth // columns[of_term] * SIZE + nth % columns[of_term]
        none = torch.full((int(tiles[:, 2].max()),), -1)
        lists = tiles, sums, *(none.scatter(0, at, factor[order]) for factor in (left, right))
        return Terms(*(values.to(torch.int32) for values in lists))

    def to(self, device: torch.device) -> Terms:
        """The same on a device."""
        return Terms(*(values.to(device) for values in self))


def _tiles(counts: Tensor) -> tuple[Tensor, ...]:
    """Tiles and sums; then, of every entry, the place of its first term and its columns."""
    kind = torch.bucketize(counts, GROWTH * torch.tensor(COLUMNS[:-1]))
    first, tiles, sums, end, row = torch.empty_like(counts), [], [], 0, 0
    for number, columns in enumerate(COLUMNS):
        (found,) = (kind == number).nonzero(as_tuple=True)
        rows = SIZE // columns
        found = pad(found[counts[found].argsort(stable=True)], (0, -len(found) % rows), value=-1)
        steps = -(-counts[found].where(found >= 0, 0).view(-1, rows).amax(1) // columns)
        ends = end + SIZE * steps.cumsum(0)
        begin = ends - SIZE * steps
        places = (begin.unsqueeze(1) + columns * torch.arange(rows)).flatten()
        first[found[found >= 0]] = places[found >= 0]
        starts = row + rows * torch.arange(len(ends))
        tiles.append(torch.stack([torch.full_like(ends, columns), begin, ends, starts], dim=1))
        sums.append(found)
        end, row = int(ends[-1]) if len(ends) else end, row + len(found)
    return torch.cat(tiles), torch.cat(sums), first, torch.tensor(COLUMNS)[kind]
