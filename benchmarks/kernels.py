"""Compile the kernels ahead of time, without a GPU: what each of them needs of it.

``python -m benchmarks.kernels --out FILE``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import machine, write
from benchmarks.machine_code import resources
from benchmarks.tune import TILINGS, folded_core
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


def _longest_chain() -> dict[str, int]:
    """How many parts of matrices and tiles come one after the other in a folded core."""
    plans = [net.plan for net in folded_core(torch.device("cpu"))]
    tiles = sum(sum(plan.tiles[1:]) for plan in plans)
    return {"parts": sum(plan.num_parts for plan in plans), "tiles": tiles}


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
    result = {"benchmark": "kernels", "machine": machine(torch.device("cpu"))}
    compiled = {"capability": args.capability / 10, "kernels": rows}
    write({**result, **compiled, "folded_core": _longest_chain()}, args.out)


if __name__ == "__main__":
    main()
