"""The derivative of gathering, as gathering: nothing is added by atomics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Uses(NamedTuple):
    """The adjoint of ``vector[index]``: for each entry of the vector, the sum over its uses.

    Sums of about equal length are taken together, so that they come out the same every time.
    """

    places: list[Tensor]
    order: Tensor

    @staticmethod
    def of(index: Tensor, size: int) -> Uses:
        """Find the uses of the first ``size`` entries; the others are constants."""
        index = index.flatten()
        counts = index.clamp(max=size).bincount(minlength=size + 1)[:size]
        sorted_places = index.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        places, entries, least = [], [], 0
        while least < int(counts.max()):
            most = max(4 * least, 1)
            (found,) = ((counts > least) & (counts <= most)).nonzero(as_tuple=True)
            within = torch.arange(most)
            which = (starts[found].unsqueeze(1) + within).clamp(max=len(index) - 1)
            there = within < counts[found].unsqueeze(1)
            places.append(sorted_places[which].where(there, len(index)))
            entries.append(found)
            least = most
        order = torch.full((size,), sum(map(len, entries)))  # of what nobody uses: the 0 behind
        order[torch.cat(entries)] = torch.arange(sum(map(len, entries)))
        return Uses([p for p in places if len(p)], order)

    def to(self, device: torch.device) -> Uses:
        """The same on a device."""
        return Uses([place.to(device) for place in self.places], self.order.to(device))

    def __call__(self, *values: Tensor) -> Tensor:
        """Add up the gradients of what was gathered, given in parts."""
        zero = values[0].new_zeros(1)
        padded = torch.cat([*(value.flatten() for value in values), zero])
        sums = [padded[place].sum(dim=1) for place in self.places]
        return torch.cat([*sums, zero])[self.order]
