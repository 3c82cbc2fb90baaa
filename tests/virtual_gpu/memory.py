"""Memory that tells of races, of accesses out of bounds, and of reads of what nobody wrote."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]
GRANULE = 2
"""Bytes that are watched together: no kernel touches fewer."""
SEVERAL = -1
"""Stands for more warps than one."""


class AccessError(RuntimeError):
    """What a GPU would do something undefined about."""


class Clock:
    """How far a block of threads has come, and how far it knows the others to be.

    Barriers are counted. Those of a warp are not, as its threads run in step here.
    """

    def __init__(self, num_blocks: int, block: int):
        self.block, self.now = block, 0
        self.known = np.full(num_blocks, -1)
        self.acquired = np.full(num_blocks, -1)

    def barrier(self) -> None:
        """What one thread knows, all of the block do, and all know what each has done."""
        np.maximum(self.known, self.acquired, out=self.known)
        self.known[self.block] = self.now
        self.now += 1

    def exchange(self, shared: Ints) -> None:
        """Acquire what others released at a place, and release what is known before it."""
        np.maximum(self.acquired, shared, out=self.acquired)
        np.maximum(shared, self.known, out=shared)


class Touch:
    """Who touched each granule last, and when."""

    def __init__(self, count: int):
        self.block, self.warp = np.zeros((2, count), int)
        self.time = np.full(count, -1)

    def is_ordered(self, at: Ints, warps: Ints, clock: Clock) -> NDArray[np.bool_]:
        """Whether that comes before all that these warps do now."""
        block = self.block[at]
        is_known = self.time[at] <= clock.known[block]
        return is_known | ((block == clock.block) & (self.warp[at] == warps))

    def record(self, at: Ints, warps: Ints, clock: Clock) -> None:
        """These warps touch it now."""
        now = (self.time[at] == clock.now) & (self.block[at] == clock.block)
        warps = np.where(now & (self.warp[at] != warps), SEVERAL, warps)
        self.block[at], self.time[at], self.warp[at] = clock.block, clock.now, warps
        self.warp[at[self.warp[at] != warps]] = SEVERAL  # in the same instruction


class Region:
    """A tensor, or the shared memory of a block."""

    def __init__(self, name: str, base: int, content: NDArray[np.uint8], is_written: bool = True):
        self.name, self.base, self.content = name, base, content
        count = -(-len(content) // GRANULE)
        self.is_written = np.full(count, is_written)
        self.is_pending = np.zeros(count, bool)  # a copy that runs ahead will write it
        self.is_fenced = np.ones(count, bool)  # matrix units see it
        self.writes, self.reads = Touch(count), Touch(count)

    def words(self, size: int) -> NDArray[np.unsignedinteger]:
        """As numbers of so many bytes."""
        return self.content[: len(self.content) // size * size].view(f"u{size}")

    def check_read(self, at: Ints, warps: Ints, clock: Clock) -> None:
        """Raise an error if it does not stand there yet."""
        if self.is_pending[at].any():
            raise AccessError(f"{self.name}: read while it is copied")
        if not self.is_written[at].all():
            raise AccessError(f"{self.name}: read, but nobody wrote it")
        self._check_order(self.writes, at, warps, clock, "read")
        self.reads.record(at, warps, clock)

    def check_write(self, at: Ints, warps: Ints, clock: Clock) -> None:
        """Raise an error if others may be reading or writing it."""
        if self.is_pending[at].any():
            raise AccessError(f"{self.name}: written while it is copied")
        self._check_order(self.writes, at, warps, clock, "write")
        self._check_order(self.reads, at, warps, clock, "write")
        self.writes.record(at, warps, clock)
        self.is_written[at], self.is_fenced[at] = True, False

    def _check_order(self, touch: Touch, at: Ints, warps: Ints, clock: Clock, action: str) -> None:
        is_ordered = touch.is_ordered(at, warps, clock)
        if not is_ordered.all():
            one = at[~is_ordered][0]
            other = "read" if touch is self.reads else "write"
            raise AccessError(
                f"{self.name}: race at byte {one * GRANULE}: {action} by block {clock.block}, no "
                f"barrier after {other} by warp {touch.warp[one]} of block {touch.block[one]}"
            )


class Memory:
    """Regions, and loads and stores of one address for each active thread."""

    def __init__(self, regions: list[Region]):
        self.regions = sorted(regions, key=lambda region: region.base)
        self.bases = [region.base for region in self.regions]
        for left, right in pairwise(self.regions):
            if left.base + len(left.content) > right.base:
                raise ValueError(f"{left.name} and {right.name} overlap")

    def find(self, address: Ints, size: int) -> tuple[Region, Ints, Ints]:
        """The region in which all of these begin, where in it, and the granules ``[*, *]``."""
        low, high = int(address.min()), int(address.max())
        region = self.regions[max(int(np.searchsorted(self.bases, low, "right")) - 1, 0)]
        offset = address.astype(np.int64) - region.base
        if low < region.base or high + size > region.base + len(region.content):
            raise AccessError(
                f"{region.name}: {size} bytes at {offset.min()} to {offset.max()}, but it has "
                f"{len(region.content)}"
            )
        if (address % size).any():
            raise AccessError(f"{region.name}: an address is no multiple of {size}")
        return region, offset, (offset[:, None] + np.arange(0, size, GRANULE)) // GRANULE

    def load(self, address: Ints, size: int, count: int, warps: Ints, clock: Clock) -> list[Ints]:
        """Numbers of ``size`` bytes, ``count`` of them from each address on."""
        region, offset, at = self.find(address, size * count)
        region.check_read(at, warps[:, None], clock)
        words = region.words(size)
        return [words[offset // size + k] for k in range(count)]

    def store(
        self, address: Ints, size: int, values: list[Ints], warps: Ints, clock: Clock
    ) -> None:
        """Write them there."""
        region, offset, at = self.find(address, size * len(values))
        region.check_write(at, warps[:, None], clock)
        words = region.words(size)
        for k, value in enumerate(values):
            cut = value.astype(words.dtype)
            words[offset // size + k] = cut
            if (words[offset // size + k] != cut).any():
                raise AccessError(f"{region.name}: threads write different numbers to one place")
