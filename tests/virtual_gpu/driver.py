"""Let Triton launch kernels on tensors of the CPU."""

from __future__ import annotations

import ctypes
import random
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import CompiledKernel

from tests.virtual_gpu import formats
from tests.virtual_gpu.block import SHARED, WARP
from tests.virtual_gpu.matrices import MatrixBlock
from tests.virtual_gpu.memory import Clock, Ints, Memory, Region
from tests.virtual_gpu.ptx import load


class Driver:
    """What Triton asks of a GPU's driver before it compiles."""

    def __init__(self, capability: int):
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, WARP)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Launcher:
    """A compiled kernel, run block by block in any order."""

    def __init__(self, compiled: Any):
        self.kernel = load(compiled.asm["ptx"])
        self.threads = WARP * compiled.metadata.num_warps
        self.shared = compiled.metadata.shared
        self.is_argument = [kind != "constexpr" for kind in compiled.src.signature.values()]

    def __call__(self, *call: Any) -> None:
        every = partial(everywhere, self.threads)
        grid, given = call[:3], call[-len(self.is_argument) :]
        arguments = [a for a, is_one in zip(given, self.is_argument, strict=True) if is_one]
        memory = Memory(regions(arguments))
        names = vars(formats) | {
            "every": every,
            "tid": np.arange(self.threads, dtype=np.uint32),
            "nctaid": [every(count, "u4") for count in grid],
            "shared": every(SHARED, "u4"),
            "all_threads": every(1, "?"),
            "parameters": self.parameters(arguments),
        }
        blocks = list(enumerate(product(*map(range, grid))))
        random.shuffle(blocks)
        releases: dict[int, Ints] = {}
        for number, place in blocks:
            registers = {
                name: every(-1, KINDS[name.rstrip("0123456789")]) for name in self.kernel.registers
            }
            clock = Clock(len(blocks), number)
            gpu = MatrixBlock(registers, self.threads, self.shared, memory, clock, releases)
            registers |= names | {"gpu": gpu, "ctaid": [every(k, "u4") for k in place]}
            with np.errstate(all="ignore"):
                exec(self.kernel.code, registers)

    def parameters(self, arguments: list[Any]) -> dict[str, Any]:
        """By their names in PTX; the last are scratch that nobody asked for."""
        values = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        values += [0] * (len(self.kernel.parameters) - len(values))
        named = zip(self.kernel.parameters.items(), values, strict=True)
        return {name: everywhere(self.threads, value, kind) for (name, kind), value in named}


KINDS = {"p": "?", "rs": "u2", "r": "u4", "rd": "u8"}


@cache
def everywhere(threads: int, number: int, kind: str) -> Any:
    """A number for all threads, cut to its type."""
    return np.full(threads, number % 2 ** (8 * np.dtype(kind).itemsize), kind)


def regions(arguments: list[Any]) -> list[Region]:
    """The memory of the tensors, also where one is a part of another."""
    found = {}
    for number, argument in enumerate(arguments):
        if isinstance(argument, Tensor) and argument.numel():
            place, size = argument.data_ptr(), argument.numel() * argument.element_size()
            if not argument.is_contiguous():
                raise ValueError(f"argument {number}: expected a contiguous tensor")
            content = np.frombuffer((ctypes.c_uint8 * size).from_address(place), np.uint8)
            found[place, size] = Region(f"argument {number}", place, content)
    inside = {
        (place, size)
        for place, size in found
        for other, length in found
        if other <= place and place + size <= other + length and size < length
    }
    return [region for key, region in found.items() if key not in inside]


def install(capability: int) -> None:
    """Compile for a compute capability, 90 for 9.0, and run kernels here from now on."""
    triton.runtime.driver.set_active(Driver(capability))

    def _init_handles(compiled: Any) -> None:
        compiled._run = Launcher(compiled)

    CompiledKernel._init_handles = _init_handles
