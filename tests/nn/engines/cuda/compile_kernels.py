"""Compile the kernel for a GPU in all variants, and print one line of JSON for each."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from handgraph.nn.engines.cuda import launch, walk

OPERANDS = {"fp32": (tl.float32, "tf32x3"), "bf16": (tl.bfloat16, "ieee")}


def compile_kernel(capability, kind, tiling, back):
    """Return the kernel and the sizes that Triton treats as multiples of 16."""
    operand, precision = OPERANDS[kind]
    values = {"BACK": back, "BLOCK": tiling["BLOCK"], "TILE": 64}
    values |= {"OPERAND": operand, "PRECISION": precision}
    names, kinds, even = walk.run.arg_names, {}, []
    for parameter in walk.run.params:
        name, is_pointer = parameter.name, parameter.name.endswith("_ptr")
        if name in values:
            kinds[name] = "constexpr"
            continue
        of_numbers = "*i32" if name == "products_ptr" else f"*{kind}"
        kinds[name] = of_numbers if is_pointer else "i32"
        varies = "do_not_specialize_on_alignment" if is_pointer else "do_not_specialize"
        if not getattr(parameter, varies):
            even.append(name)
    source = ASTSource(
        walk.run,
        kinds,
        {(names.index(name),): value for name, value in values.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in even},
    )
    options = {name: tiling[name] for name in ("num_warps", "num_stages")}
    options |= {"enable_fp_fusion": True}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return made, [name for name in even if not name.endswith("_ptr")]


def resources(cubin):
    """Return registers and stack bytes, from the tool that is shipped with Triton."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        usage = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True).stdout
    fields = dict(field.split(":") for field in usage.split() if field.count(":") == 1)
    return {"registers": int(fields["REG"]), "stack": int(fields["STACK"])}


def main(capability):
    for kind, tiling, back in product(OPERANDS, (launch.FEW, launch.MANY), (False, True)):
        made, even = compile_kernel(capability, kind, tiling, back)
        loads = [line for line in made.asm["ptx"].splitlines() if "ld.global" in line]
        row = {"kind": kind, **tiling, "back": back, "even": even}
        row |= {"stale": sum(".nc" in line for line in loads)}
        row |= {"shared": made.metadata.shared, **resources(made.asm["cubin"])}
        print(json.dumps(row))


if __name__ == "__main__":
    main(int(sys.argv[1]))
