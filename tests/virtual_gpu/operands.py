"""A line of PTX taken apart, and its operands in Python.

A register is an array of unsigned integers, one for each thread of a block, or of truth values; an
instruction of type s32 or f32 sees it as such. What the lines call is in
:mod:`tests.virtual_gpu.formats`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TYPES = {"s": "i", "u": "u", "b": "u", "f": "f"}
PACKED = {"bf16": "u2", "bf16x2": "u4", "f16x2": "u4", "f32x2": "u8"}
"""Types that numpy does not have, and what holds their bits."""
SPECIAL = {
    "%tid.x": "tid", "global_smem": "shared",
    "%ctaid.x": "ctaid[0]", "%ctaid.y": "ctaid[1]", "%ctaid.z": "ctaid[2]",
    "%nctaid.x": "nctaid[0]", "%nctaid.y": "nctaid[1]", "%nctaid.z": "nctaid[2]",
}  # fmt: skip


class Instruction(NamedTuple):
    """One line: ``@condition name.name arguments;``."""

    condition: str | None
    names: list[str]
    arguments: list[str]

    @property
    def kind(self) -> str:
        """The type of what it computes."""
        return self.names[-1]


def parse(line: str) -> Instruction:
    """Take a line apart."""
    match = re.match(r"(?:@(!?)%(p\d+)\s+)?([\w.:]+)\s*(.*);$", line)
    if not match:
        raise NotImplementedError(line)
    negated, condition, names, rest = match.groups()
    if condition and negated:
        condition = f"~{condition}"
    arguments = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s{}\[\]][^,{}\[\]]*", rest)
    parts = names.replace("::", ".").split(".")
    return Instruction(condition, parts, [argument.strip() for argument in arguments])


def register(text: str) -> str:
    """Its name in Python."""
    return text.strip().lstrip("%")


def registers(text: str) -> list[str]:
    """Those of a vector, or one."""
    return [register(part) for part in text.strip("{} ").split(",")]


def numpy_type(kind: str) -> str:
    """What numpy calls a type of PTX."""
    return f"{TYPES[kind[0]]}{int(kind[1:]) // 8}"


def read(text: str, kind: str) -> str:
    """An operand, as numbers of a type."""
    if text in SPECIAL:
        return SPECIAL[text]
    stored = PACKED.get(kind) or ("?" if kind == "pred" else f"u{int(kind[1:]) // 8}")
    bits = register(text) if text.startswith("%") else f"every({number(text)}, {stored!r})"
    if kind in PACKED:
        return f"{kind}({bits})"
    return bits if kind[0] in "ubp" else f"{bits}.view({numpy_type(kind)!r})"


def number(text: str) -> int:
    """A constant, and the bits of one that is no integer."""
    if re.match("0[fFdD]", text):
        return int(text[2:], 16)
    return int(text.rstrip("U"), 0)


def write(target: str, value: str, kind: str, condition: str | None) -> str:
    """Assign numbers of a type to a register."""
    name = register(target)
    if kind in PACKED:
        value = f"to_{kind}({value})"
    elif kind[0] in "sf":
        value = f"({value}).view('u{int(kind[1:]) // 8}')"
    if condition:
        value = f"np.where({condition}, {value}, {name})"
    return f"{name} = {value}"


def address(text: str, size: int) -> str:
    """What stands in brackets."""
    base, _, more = text.strip("[] ").partition("+")
    return f"{read(base.strip(), f'u{size}')} + {read(more.strip() or '0', f'u{size}')}"
