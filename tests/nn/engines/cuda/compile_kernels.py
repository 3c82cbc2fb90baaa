"""Compile the kernels for a GPU and print the resources of each, one line of JSON per kernel."""

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

INTEGERS = {"columns_ptr", "tiles_ptr", "terms_ptr", "back_ptr", "back_terms_ptr"}
OPERANDS = {"fp32": (tl.float32, "tf32x3"), "bf16": (tl.bfloat16, "ieee")}


def compile_kernel(kernel, capability, kind, tiling, has_columns):
    """Return the kernel and the sizes that Triton treats as multiples of 16."""
    operand, precision = OPERANDS[kind]
    values = {"BLOCK": tiling["BLOCK"], "TILE": 64, "OPERAND": operand, "PRECISION": precision}
    values |= {} if has_columns else {"columns_ptr": None}
    names, kinds, even = kernel.arg_names, {}, []
    for parameter in kernel.params:
        name, is_pointer = parameter.name, parameter.name.endswith("_ptr")
        if name in values:
            kinds[name] = "constexpr"
            continue
        of_numbers = "*i32" if name in INTEGERS else f"*{kind}"
        kinds[name] = of_numbers if is_pointer else "i32"
        varies = "do_not_specialize_on_alignment" if is_pointer else "do_not_specialize"
        if not getattr(parameter, varies):
            even.append(name)
    source = ASTSource(
        kernel,
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
    cases = OPERANDS, (launch.FEW, launch.MANY), (walk.forward, walk.backward), (True, False)
    for kind, tiling, kernel, has_columns in product(*cases):
        made, even = compile_kernel(kernel, capability, kind, tiling, has_columns)
        loads = [line for line in made.asm["ptx"].splitlines() if "ld.global" in line]
        row = {"kind": kind, **tiling, "kernel": kernel.__name__, "has_columns": has_columns}
        row |= {"even": even, "stale": sum(".nc" in line for line in loads)}
        row |= {"shared": made.metadata.shared, **resources(made.asm["cubin"])}
        print(json.dumps(row))


if __name__ == "__main__":
    main(int(sys.argv[1]))
