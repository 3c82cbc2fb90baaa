"""A block of threads, all at the same instruction: what they load, store, copy and exchange."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.virtual_gpu.memory import GRANULE, Clock, Ints, Memory, Region

Bools = NDArray[np.bool_]
WARP = 32
SHARED = 1024
"""Where shared memory begins."""


class Copy(NamedTuple):
    """A copy to shared memory that runs ahead: ``number`` bytes, and zeros up to ``size``."""

    size: int
    to: Ints
    source: Ints
    number: Ints
    warps: Ints


class Block:
    """The state of a block, but for its registers."""

    def __init__(self, threads: int, shared: int, memory: Memory, clock: Clock, places: Any):
        self.threads, self.clock, self.places = threads, clock, places
        thread = np.arange(threads)
        self.warps, self.lanes = thread // WARP, thread % WARP
        self.region = Region("shared memory", SHARED, np.zeros(shared, np.uint8), False)
        self.spaces = {"global": memory, "shared": Memory([self.region])}
        self.copies: list[Copy] = []
        self.groups: list[list[Copy]] = []

    def same(self, value: Any) -> Any:
        """What all threads hold: none of these kernels lets them part ways."""
        if (value != value[0]).any():
            raise NotImplementedError("threads of a block part ways")
        return value[0].item()

    def barrier(self) -> None:
        """Wait for all threads."""
        self.clock.barrier()

    def load(self, space: str, address: Ints, size: int, count: int, active: Bools) -> list[Ints]:
        """What stands there; 0 for threads that are not active."""
        out = [np.zeros(self.threads, f"u{size}") for _ in range(count)]
        if active.any():
            at, warps = address[active], self.warps[active]
            found = self.spaces[space].load(at, size, count, warps, self.clock)
            for target, values in zip(out, found, strict=True):
                target[active] = values
        return out

    def store(
        self, space: str, address: Ints, size: int, values: list[Ints], active: Bools
    ) -> None:
        """Write it there."""
        if active.any():
            at, warps = address[active], self.warps[active]
            values = [value[active] for value in values]
            self.spaces[space].store(at, size, values, warps, self.clock)

    def atomic_add(self, address: Ints, value: Ints, active: Bools) -> Ints:
        """One thread after the other, each of which acquires and releases."""
        out = np.zeros(self.threads, np.uint32)
        for thread in np.flatnonzero(active):
            region, offset, _ = self.spaces["global"].find(address[[thread]], 4)
            words, place = region.words(4), int(offset[0]) // 4
            out[thread] = words[place]
            words[place] += value[thread]
            known = self.places.setdefault(int(address[thread]), self.clock.known * 0 - 1)
            self.clock.exchange(known)
        return out

    def copy(self, to: Ints, source: Ints, size: int, number: Ints, active: Bools) -> None:
        """Begin a copy; when it is done is not known, so it is done when somebody waits for it."""
        if active.any():
            operands = (operand[active] for operand in (to, source, number, self.warps))
            self.copies.append(Copy(size, *operands))
            region, _, at = self.spaces["shared"].find(to[active], size)
            region.check_write(at, self.warps[active, None], self.clock)
            region.is_pending[at] = True
            self._source(self.copies[-1])

    def commit(self) -> None:
        """What was begun since the last time is a group."""
        self.groups.append(self.copies)
        self.copies = []

    def wait(self, left: int) -> None:
        """Wait until no more groups than these are under way."""
        while len(self.groups) > left:
            for copy in self.groups.pop(0):
                region, offset, at = self.spaces["shared"].find(copy.to, copy.size)
                region.is_pending[at] = False
                region.check_write(at, copy.warps[:, None], self.clock)
                region.content[offset[:, None] + np.arange(copy.size)] = self._source(copy)

    def _source(self, copy: Copy) -> NDArray[np.uint8]:
        """What it reads, and may."""
        out = np.zeros((len(copy.to), copy.size), np.uint8)
        for number in np.unique(copy.number[copy.number > 0]):
            chosen = copy.number == number
            region, offset, at = self.spaces["global"].find(copy.source[chosen], copy.size)
            at = at[:, : -(-number // GRANULE)]
            region.check_read(at, copy.warps[chosen, None], self.clock)
            out[chosen, :number] = region.content[offset[:, None] + np.arange(number)]
        return out
