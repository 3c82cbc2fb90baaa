"""A kernel in PTX as a program of Python."""

from __future__ import annotations

import linecache
import re
from types import CodeType
from typing import NamedTuple

from tests.virtual_gpu.instructions import translate

JUMP = re.compile(r"(?:@(!?)%(p\d+)\s+)?bra(?:\.uni)?\s+(\S+);")
CHOICE = re.compile(r"brx\.idx\s+%(r\d+), (\w+);")
TARGETS = re.compile(r"(\w+):\s*\.branchtargets([^;]*);")
LABEL = re.compile(r"(\$L__BB\w+):")
NOTES = re.compile(r"//.*|\.(?:loc|reg|pragma)\b.*|\$L__(?:tmp|func).*")


class Kernel(NamedTuple):
    """What it takes and of which type, what registers it has, and its code."""

    parameters: dict[str, str]
    registers: list[str]
    code: CodeType


def load(ptx: str) -> Kernel:
    """Translate the one kernel of a file."""
    declared, _, body = ptx.partition(".entry ")[2].partition("\n{")
    body = NOTES.sub("", body[: body.index("\n}")])
    targets = {name: re.findall(r"[$\w]+", found) for name, found in TARGETS.findall(body)}
    lines = [line.strip() for line in TARGETS.sub("", body).splitlines()]
    source = "\n".join(program([line for line in lines if line], targets))
    file = f"<{declared.partition('(')[0]} {hash(ptx):x}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    return Kernel(
        {
            name: f"u{int(n) // 8}"
            for n, name in re.findall(r"\.u(\d+).*?(\w+_param_\d+)", declared)
        },
        sorted(set(re.findall(r"%((?:p|r|rd|rs)\d+)", body))),
        compile(source, file, "exec"),
    )


def program(lines: list[str], targets: dict[str, list[str]]) -> list[str]:
    """Straight pieces, and a number that says which of them comes next."""
    pieces: list[list[str]] = [[]]
    labels: dict[str, int] = {}
    for line in lines:
        if label := LABEL.match(line):
            labels[label[1]] = len(pieces)
            pieces.append([])
        else:
            pieces[-1].append(line)
            if JUMP.match(line) or CHOICE.match(line):
                pieces.append([])
    choices = {name: [labels[label] for label in found] for name, found in targets.items()}
    out = ["piece = 0", "while True:"]
    for number, piece in enumerate(pieces):
        out.append(f"    if piece == {number}:")
        for line in piece:
            out += [f"        {one}  # {line}" for one in statement(line, labels, choices)]
        out.append(f"        piece = {number + 1}")
    return out


def statement(line: str, labels: dict[str, int], choices: dict[str, list[int]]) -> list[str]:
    """The lines of Python for one of PTX."""
    if line == "ret;":
        return ["break"]
    if choice := CHOICE.match(line):
        return [f"piece = {choices[choice[2]]}[gpu.same({choice[1]})]", "continue"]
    if not (jump := JUMP.match(line)):
        return translate(line)
    negated, condition, label = jump.groups()
    test = "if True:" if not condition else f"if gpu.same({condition}) is {not negated}:"
    return [test, f"    piece = {labels[label]}", "    continue"]
