"""Allocation of the rows of the work space to intermediates."""

from __future__ import annotations


class Rows:
    """Allocate rows, and free those that later stages do not read.

    Args:
        reused: Whether freed rows are allocated again. A derivative reads all rows.
    """

    def __init__(self, reused: bool):
        self.reused = reused
        self.count = 0
        self.free: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """Allocate consecutive rows, and return the first."""
        for place, (start, room) in enumerate(self.free):
            if room >= size:
                self.free[place] = (start + size, room - size)
                return start
        self.count += size
        return self.count - size

    def release(self, start: int, size: int) -> None:
        """Free rows, and merge adjacent free rows."""
        if not self.reused or not size:
            return
        rest = sorted([*self.free, (start, size)])
        merged = [rest[0]]
        for first, room in rest[1:]:
            before, length = merged[-1]
            if before + length == first:
                merged[-1] = (before, length + room)
            else:
                merged.append((first, room))
        self.free = [span for span in merged if span[1]]
