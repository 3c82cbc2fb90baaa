"""Hands and random draws of an iteration, as functions of seed, step and iteration.

These functions have no state, so an interrupted run can resume from the iteration alone. Several
processes share each batch.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


def keyed(*key: object) -> torch.Generator:
    """Return a generator that is seeded by a key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Order(NamedTuple):
    """The order of the hands in a step, and the share of process ``rank`` of ``world``."""

    num_samples: int
    batch_size: int
    seed: int
    step: int
    rank: int = 0
    world: int = 1

    def check(self) -> None:
        """Raise unless processes share a batch evenly, and there is at least one batch."""
        if self.batch_size % self.world or not 0 < self.batch_size <= self.num_samples:
            raise ValueError(
                f"expected a batch size from 1 to {self.num_samples} that {self.world} processes "
                f"share evenly, got {self.batch_size}"
            )

    def whole(self, iteration: int) -> Tensor:
        """Return the hands of all processes; an incomplete last batch of an epoch is skipped."""
        epoch, place = divmod(iteration, self.num_samples // self.batch_size)
        order = _permutation(self.num_samples, self.seed, self.step, epoch)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def mine(self, iteration: int) -> Tensor:
        """Return the hands of this process."""
        return self.whole(iteration)[self.rank :: self.world]

    def batches(self, first: int, last: int) -> list[list[int]]:
        """Return the hands of this process in the iterations from ``first`` to ``last - 1``."""
        return [self.mine(iteration).tolist() for iteration in range(first, last)]

    def jitter(self, iteration: int, amount: float) -> Tensor:
        """Draw gain and shift of each colour of this process's images, ``[B, 2, 3]``."""
        rng = keyed("jitter", self.seed, self.step, iteration)
        drawn = amount * (2 * torch.rand(self.batch_size, 2, 3, generator=rng) - 1)
        return drawn[self.rank :: self.world]


@lru_cache(maxsize=2)
def _permutation(num_samples: int, seed: int, step: int, epoch: int) -> Tensor:
    return torch.randperm(num_samples, generator=keyed("order", seed, step, epoch))
