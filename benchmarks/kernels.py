"""Compile the kernels ahead of time, without a GPU: registers, spills and shared memory of each.

``python -m benchmarks.kernels --out FILE``
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import machine, write
from handgraph.nn.kernels.launch import FEW, MANY, REDUCE, Tiling

CAPABILITY = 90  # Hopper: H100, H200
KINDS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
INTEGERS = ("tiles", "terms", "back", "back_terms", "products", "sums")


def cases(everything: bool = False) -> Iterator[tuple[str, Tiling, str, str]]:
    """Kernel, tiling, dtype and input precision of all that can be launched, or could be."""
    tilings = [FEW, MANY]
    if everything:
        tilings += [Tiling(b, t, w) for b in (16, 32, 64) for t in (32, 64) for w in (4, 8)]
    for kind, precision in [("float32", "ieee"), ("float32", "tf32"), ("bfloat16", "ieee")]:
        for tiling in dict.fromkeys(tilings):
            yield "forward", tiling, kind, precision
            yield "back", tiling, kind, precision
        reducing = tilings if everything else [REDUCE]
        for tiling in dict.fromkeys(reducing):
            yield "reduce_products", tiling, kind, precision
            yield "reduce_sums", tiling, kind, precision


def compile_kernel(
    name: str, tiling: Tiling, kind: str, precision: str, ones: bool = False
) -> dict[str, Any]:
    """Compile one kernel to machine code, and read off what it needs.

    Args:
        name: Its name in ``handgraph.nn.kernels.walk``.
        tiling: How it is cut.
        kind: The dtype of the tensors.
        precision: That of the products.
        ones: Whether all sizes are 1, which Triton takes for constants.
    """
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from handgraph.nn.kernels import walk

    kernel = getattr(walk, name)
    constants = {
        "BLOCK": tiling.block,
        "TILE": tiling.tile,
        "SUM": tl.float32,
        "OPERAND": getattr(tl, kind),
        "PRECISION": precision,
    }
    names = kernel.arg_names
    if ones:
        constants |= {n: 1 for n in names if _type(n, name, kind) == "i32"}
    compiled = triton.compile(
        ASTSource(
            kernel,
            {n: "constexpr" if n in constants else _type(n, name, kind) for n in names},
            {(names.index(n),): value for n, value in constants.items() if n in names},
            {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n.endswith("_ptr")},
        ),
        target=GPUTarget("cuda", CAPABILITY, 32),
        options={"num_warps": tiling.warps, "num_stages": 1, "enable_fp_fusion": True},
    )
    sizes = resources(compiled.asm["cubin"])
    loads = [line for line in compiled.asm["ptx"].splitlines() if "ld.global" in line]
    stale = sum(".nc" in line for line in loads)  # through a cache that does not see the stores
    case = {"kernel": name, **tiling._asdict(), "dtype": kind, "precision": precision}
    found = {"shared": compiled.metadata.shared, "noncoherent_loads": stale}
    return {**case, **sizes, **found}


def _type(argument: str, kernel: str, kind: str) -> str:
    if argument.isupper():
        return "constexpr"
    name, is_pointer, _ = argument.partition("_ptr")
    if not is_pointer:
        return "i32"
    if name in INTEGERS:
        return "*i32"
    is_sum = kernel.startswith("reduce") and name == "grad"
    return "*fp32" if is_sum else f"*{KINDS[kind]}"


def resources(cubin: bytes) -> dict[str, int]:
    """Registers a thread, and bytes that it keeps in memory for want of registers."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), "-res-usage", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fields = dict(field.split(":") for field in text.split() if field.count(":") == 1)
    return {"registers": int(fields["REG"]), "spilled": int(fields["STACK"])}


def main(arguments: list[str] | None = None) -> None:
    """Compile, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--all", action="store_true", help="other tilings too")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    args = parser.parse_args(arguments)
    rows = []
    for case in tqdm(list(cases(args.all)), desc="kernels", disable=None):
        name, tiling, kind, precision = case
        row = compile_kernel(name, tiling, kind, precision)
        if (kind, precision) == ("float32", "ieee"):
            compile_kernel(name, tiling, kind, precision, ones=True)
        rows.append(row)
        tqdm.write("  ".join(f"{key} {value}" for key, value in row.items()))
    where = machine(torch.device("cpu")) | {"compute_capability": CAPABILITY}
    write({"benchmark": "kernels", "machine": where, "kernels": rows}, args.out)


if __name__ == "__main__":
    main()
