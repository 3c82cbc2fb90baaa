"""The rows of the work space, of which each intermediate takes some."""

from __future__ import annotations


class Rows:
    """Give out rows, and take back those that nobody reads any more.

    Args:
        reused: Whether rows that were taken back are given out again; a derivative reads them all.
    """

    def __init__(self, reused: bool):
        self.reused = reused
        self.count = 0
        self.free: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """The first of so many rows in a row."""
        for place, (start, room) in enumerate(self.free):
            if room >= size:
                self.free[place] = (start + size, room - size)
                return start
        self.count += size
        return self.count - size

    def release(self, start: int, size: int) -> None:
        """Take rows back; neighbours become one."""
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
