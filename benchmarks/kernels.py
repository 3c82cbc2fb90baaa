"""Compile the kernels ahead of time, without a GPU: what each of them needs of it.

``python -m benchmarks.kernels --out FILE``
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from benchmarks.machine import machine, write
from benchmarks.tune import TILINGS
from handgraph.nn.kernels.launch import (
    FEW,
    MANY,
    NARROW,
    PRECISION,
    REDUCE,
    REDUCE_NARROW,
    WIDE_MAJORS,
    Tiling,
)
from handgraph.nn.kernels.plan import TILE
from handgraph.nn.kernels.table import MERGE_WARPS
from handgraph.nn.kernels.terms import SIZE

KINDS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
INTEGERS = {
    **dict.fromkeys(("tiles", "terms", "merger_tiles", "merger_terms"), "*i32"),
    **dict.fromkeys(("back", "back_terms", "products", "arrived"), "*i32"),
    **dict.fromkeys(("source", "joined"), "*i64"),
    **dict.fromkeys(("at", "sums", "left_at", "right_at"), "*i32"),
}
NODES = [Tiling(count, MERGE_WARPS, 1) for count in (16, 32, 64)]
TERMS = Tiling(SIZE, 4, 1)
"""Of the kernels that make a table: a block is so many nodes or terms."""


def cases(capability: int, everything: bool = False) -> Iterator[tuple[str, Tiling, str, str]]:
    """Kernel, tiling, dtype and input precision of all that can be launched, or could be."""
    is_wide = capability // 10 in WIDE_MAJORS
    many, reduce = (MANY, REDUCE) if is_wide else (NARROW, REDUCE_NARROW)
    tilings = [FEW, many]
    if everything:
        tilings += TILINGS
    kinds = [("float32", precision) for precision in PRECISION.values()]
    for kind, precision in [*kinds, ("bfloat16", "ieee")]:
        walking = [FEW] if (kind, precision) == ("float32", "ieee") else tilings
        for tiling in dict.fromkeys(walking):
            yield "forward", tiling, kind, precision
            yield "core", tiling, kind, precision
            yield "back", tiling, kind, precision
        reducing = tilings if everything else [reduce]
        for tiling in dict.fromkeys(reducing):
            yield "reduce", tiling, kind, precision
    for tiling, (kind, precision) in product(NODES, [*kinds, ("bfloat16", "tf32x3")]):
        yield "merge_nodes", tiling, kind, precision
        yield "merge_nodes_back", tiling, kind, precision
    for kind in ("float32", "bfloat16"):  # it multiplies no matrices
        yield "add_terms", TERMS, kind, "ieee"


def compile_kernel(
    capability: int, name: str, tiling: Tiling, kind: str, precision: str
) -> dict[str, Any]:
    """Compile one kernel to machine code, and read off what it needs.

    Args:
        capability: The compute capability, times ten.
        name: Its name in ``handgraph.nn.kernels``.
        tiling: How it is cut.
        kind: The dtype of the tensors.
        precision: That of the products.
    """
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from handgraph.nn.kernels import merge, walk, walk_back

    (kernel,) = (vars(m)[name] for m in (merge, walk, walk_back) if hasattr(m, name))
    constants = {
        **dict.fromkeys(("BLOCK", "NODES", "SIZE"), tiling.block),
        "ABS": True,
        "TILE": TILE,
        "QUICK": tiling.quick,
        "SUM": tl.float32,
        "OPERAND": getattr(tl, kind),
        "PRECISION": precision,
    }
    names = kernel.arg_names
    even = [p.name for p in kernel.params if not p.is_constexpr and _is_even(p)]
    compiled = triton.compile(
        ASTSource(
            kernel,
            {n: "constexpr" if n in constants else _type(n, name, kind) for n in names},
            {(names.index(n),): value for n, value in constants.items() if n in names},
            {(names.index(n),): [["tt.divisibility", 16]] for n in even},
        ),
        target=GPUTarget("cuda", capability, 32),
        options={
            "num_warps": tiling.warps,
            "num_stages": tiling.stages,
            "enable_fp_fusion": True,
        },
    )
    sizes = resources(compiled.asm["cubin"])
    loads = [line for line in compiled.asm["ptx"].splitlines() if "ld.global" in line]
    stale = sum(".nc" in line for line in loads)  # through a cache that does not see the stores
    case = {"kernel": name, **tiling._asdict(), "dtype": kind, "precision": precision}
    sizes |= {"shared": compiled.metadata.shared, "noncoherent_loads": stale}
    found = {"specialized": [n for n in even if not n.endswith("_ptr")]}
    return {**case, **sizes, **found}


def _is_even(parameter: Any) -> bool:  # noqa: ANN401
    """Whether Triton compiles anew where it is no multiple of 16: otherwise nothing is known."""
    if parameter.name.endswith("_ptr"):
        return not parameter.do_not_specialize_on_alignment
    return not parameter.do_not_specialize


def _type(argument: str, kernel: str, kind: str) -> str:
    if argument.isupper():
        return "constexpr"
    name, is_pointer, _ = argument.partition("_ptr")
    if not is_pointer:
        return "i32"
    if name in INTEGERS:
        return INTEGERS[name]
    is_sum = name == "merged" or (
        kernel.startswith(("reduce", "merge_nodes")) and name in ("out", "grad")
    )
    return "*fp32" if is_sum else f"*{KINDS[kind]}"


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


def main(arguments: list[str] | None = None) -> None:
    """Compile, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--capability", type=int, default=90, help="90 (default) is Hopper's")
    parser.add_argument("--all", action="store_true", help="other tilings too")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    args = parser.parse_args(arguments)
    rows = []
    for case in tqdm(list(cases(args.capability, args.all)), desc="kernels", disable=None):
        row = compile_kernel(args.capability, *case)
        rows.append(row)
        tqdm.write("  ".join(f"{key} {value}" for key, value in row.items()))
    where = machine(torch.device("cpu")) | {"compute_capability": args.capability}
    write({"benchmark": "kernels", "machine": where, "kernels": rows}, args.out)


if __name__ == "__main__":
    main()
