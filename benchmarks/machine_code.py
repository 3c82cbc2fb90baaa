"""Read a kernel's machine code: registers, and what its loops over products cost."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple


def resources(cubin: bytes) -> dict[str, int]:
    """Registers a thread; what a warp does in the longest loop over products, and around it.

    That is for a part of a matrix, and for a tile of its products: the instructions, the cycles
    that the compiler has it wait between them, which is the least that they take, and the barriers.
    What all loops spill.
    """
    usage, code = _tool(cubin, "-res-usage"), _tool(cubin, "-sass")
    fields = dict(field.split(":") for field in usage.split() if field.count(":") == 1)
    found = loops(code)
    inner = [loop for loop in found if sum(_multiplies(line.text) for line in loop.own) > 1]
    spilled = sum("LDL" in line.text or "STL" in line.text for loop in inner for line in loop.own)
    longest = max(inner, key=lambda loop: len(loop.own), default=None)
    around = [loop for loop in found if longest and longest.is_in(loop)]
    nearest = min(around, key=lambda loop: loop.last - loop.first, default=None)
    counts = _counts("", longest) | _counts("tile_", nearest)
    return {"registers": int(fields["REG"]), **counts, "spilled": spilled}


class Line(NamedTuple):
    """An instruction: its address, its text, and the cycles before the next."""

    address: int
    text: str
    cycles: int


class Loop(NamedTuple):
    """From which address to which, and the instructions that are in no loop within it."""

    first: int
    last: int
    own: list[Line]

    def is_in(self, other: Loop) -> bool:
        """Whether it is a part of the other."""
        return self != other and other.first <= self.first and self.last <= other.last


def _counts(prefix: str, loop: Loop | None) -> dict[str, int]:
    lines = loop.own if loop else []
    barriers = sum(line.text.startswith("BAR.") for line in lines)
    counts = {"instructions": len(lines), "cycles": sum(line.cycles for line in lines)}
    return {prefix + name: count for name, count in (counts | {"barriers": barriers}).items()}


LINE = re.compile(r"/\*([0-9a-f]{4,})\*/ +(.*?);.*\n.*/\* 0x([0-9a-f]{16}) \*/")
"""An instruction is two lines; the second holds, since Volta, how long the next one waits."""


def loops(code: str) -> list[Loop]:
    """All loops: wherever it jumps back."""
    lines = [
        Line(int(at, 16), text, int(bits, 16) >> 41 & 15) for at, text, bits in LINE.findall(code)
    ]
    ranges = {
        (int(to, 16), line.address)
        for line in lines
        for to in re.findall(r"BRA.* 0x(\w+)", line.text)
        if int(to, 16) < line.address
    }
    found = []
    for first, last in sorted(ranges):
        within = [r for r in ranges if first <= r[0] and r[1] <= last and r != (first, last)]
        own = [
            line
            for line in lines
            if first <= line.address <= last
            and not any(start <= line.address <= end for start, end in within)
        ]
        found.append(Loop(first, last, own))
    return found


def _multiplies(line: str) -> bool:
    return any(name in line for name in ("FFMA", "HMMA", "HGMMA"))


def _tool(cubin: bytes, option: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), option, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
