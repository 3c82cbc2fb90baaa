"""Calls of the compiled functions with tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.engines.cpu.program import Program, Table

WORK_SPACE = 5 * 2**16
"""Largest number of intermediate values of a block, about the L2 cache of a core."""

LEAST, MOST = 16, 144
"""Smallest and largest block. Blocks are multiples of LEAST, and so of the LANES of the tiles."""

FEW = 2
"""Largest number of samples that are computed one by one, as they do not fill a vector."""


def forward(program: Program, x: Tensor, slots: Table, parts: Sequence[Tensor] = ()) -> Tensor:
    """Return the output ``[N, J', C', B]`` of ``[N, J, C, B]``, in the input's memory order."""
    x = x.resolve_neg()
    branches, nodes, channels = program.shapes[-1]
    samples = x.shape[3]
    if x.stride(3) == 1:
        out = x.new_empty(branches, nodes, channels, samples)
    else:
        out = x.new_empty(samples, branches, nodes, channels).permute(1, 2, 3, 0)
    block = 1 if samples <= FEW else block_size(program.rows, samples)
    w = x.new_empty(program.rows * block).numpy()
    inputs, outputs = _ends(program, x, parts), np.array((_end(program.out, out),))
    _entry().forward(w, _sizes(x, block), slots, inputs, outputs, program.tables)
    return out


def backward(
    program: Program, grad: Tensor, x: Tensor, shared: Tensor, parts: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients of the input and of the tensors of the plan."""
    grad, x = grad.resolve_neg(), x.resolve_neg()
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    found = x.new_zeros(shared.numel() + sum([part.numel() for part in parts]))
    d_shared, *d_parts = _views(found, [shared, *parts])
    block = block_size(program.rows, x.shape[3])
    w, g = (x.new_empty(program.rows * block).numpy() for _ in range(2))
    inputs, gradients = _ends(program, x, parts), _ends(program, dx, d_parts)
    outputs = np.array((_end(program.out, grad),))
    slots = place(program.slots, [shared, *parts]), place(program.found, [d_shared, *d_parts])
    ends = inputs, outputs, gradients
    _entry().backward(w, g, _sizes(x, block), *slots, *ends, program.tables)
    return [dx, *d_parts]


@cache
def _entry() -> Any:  # noqa: ANN401
    return import_module("handgraph.nn.engines.cpu.entry")  # needs numba


def _sizes(x: Tensor, block: int) -> Table:
    return np.array((x.shape[0], x.shape[3], block))


def place(layout: Table, parts: Sequence[Tensor]) -> Table:
    """Write the addresses of tensors into a layout of slots."""
    slots = layout.copy()
    slots[:, 0] = [part.data_ptr() for part in parts]
    return slots


def check(x: Tensor, parts: Sequence[Tensor]) -> None:
    """Raise unless all tensors have the dtype of the input and are on the CPU."""
    for part in parts:
        if not part.is_cpu:
            check_device(x, "the input", part)
        if part.dtype != x.dtype:
            raise TypeError(f"expected an input in the net's {part.dtype}, got {x.dtype}")


def _views(flat: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return consecutive views of ``flat`` in the shapes of other tensors."""
    views: Sequence[Tensor] = torch.ops.aten.unflatten_dense_tensors(flat, like)
    return views


def block_size(rows: int, samples: int) -> int:
    """Return the number of samples per block, for ``rows`` intermediate values per sample."""
    most = max(LEAST, min(MOST, WORK_SPACE // rows // LEAST * LEAST))
    return min(most, max(1, -(-samples // LEAST)) * LEAST)


def _ends(program: Program, x: Tensor, parts: Sequence[Tensor]) -> Table:
    """Return the ends of the input and of the factors of scales, or of their gradients."""
    scales = [_end(row, parts[slot - 1].unsqueeze(2)) for slot, row, _ in program.scales]
    return np.array((_end(0, x), *scales))


def _end(row: int, x: Tensor) -> tuple[int, ...]:
    """Return row, address, strides, nodes and channels of ``[N, J, C, B]``."""
    return (row, x.data_ptr(), *x.stride(), x.shape[1], x.shape[2])
