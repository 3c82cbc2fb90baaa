"""The values of a plan in one table, in the order of access by the kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.engines.cuda.program import Program, is_input
from handgraph.nn.plan import Plan, tensors


def pack(plan: Plan, program: Program) -> Tensor:
    """Return the table of a lowered plan, ``[N, T]``. Differentiable.

    For each tile of each step and each source, the table contains all parts of the matrix for that
    tile. The biases follow after all parts. Parts and biases are zero-padded to whole tiles.
    """
    like = next(part for part in tensors(plan) if part.is_floating_point())
    stages = (stage for stage in plan if not is_input(stage))
    parts, biases = [], []
    for stage, width in zip(stages, program.widths[program.inputs :], strict=True):
        shape = program.branches, width, -1
        matrices = [
            t.node_map[0] if t.node_map else torch.eye(width, dtype=like.dtype, device=like.device)
            for t in stage.terms
        ]
        tiled = [_to_tiles(matrix.expand(*shape), program.tile) for matrix in matrices]
        parts.append(torch.cat(tiled, dim=2).flatten(1))
        bias = like.new_zeros(1, width, 1) if stage.bias is None else stage.bias
        biases.append(pad(bias.expand(*shape).flatten(1), (0, -width % program.tile)))
    return torch.cat([*parts, *biases], dim=1)


def _to_tiles(matrix: Tensor, tile: int) -> Tensor:
    """Rearrange ``[N, W', W]`` to ``[N, tiles of W', tiles of W, tile, tile]``."""
    rows, columns = (-size % tile for size in matrix.shape[1:])
    whole: Tensor = pad(matrix, (0, columns, 0, rows)).unflatten(2, (-1, tile))
    tiled: Tensor = whole.unflatten(1, (-1, tile)).transpose(2, 3)
    return tiled
