"""Run a plan: as one autograd function, operation by operation, or in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import torch
from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.engines.looking import is_cast, traced, transformed
from handgraph.nn.engines.reference.derivative import Run, each_once
from handgraph.nn.engines.reference.walk import walk
from handgraph.nn.fuse import fuse
from handgraph.nn.plan import Plan, Stage, tensors

BLOCK = 1024
"""Largest number of samples per block on a CPU without gradients. Larger intermediates do not fit
the cache."""


def run(plan: Plan, x: Tensor) -> Tensor:
    """Run a plan on ``[N, J, C, B]``."""
    check_device(x, "the input", next(iter(tensors(plan)), x))
    if torch.is_grad_enabled() and not _is_watched(x):
        parts = each_once(plan)
        if x.requires_grad or any(part.requires_grad for part in parts):
            out: Tensor = Run.apply(plan, x, *parts)
            return out
    return run_fused(fuse(plan), x)


def run_fused(plan: Plan, x: Tensor) -> Tensor:
    """Run a plan whose maps are fused. Autograd computes its derivative."""
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors(plan)))
    if wanted or _is_watched(x):
        out, bias = walk(plan, x, in_place=False), plan[-1].bias
        return out if bias is None else out.to(torch.promote_types(out.dtype, bias.dtype))
    size = x.shape[3]
    if size <= BLOCK or not x.is_cpu:
        return walk(plan, x, in_place=True)
    size = -(-size // -(-size // BLOCK))  # blocks of equal size
    blocks = zip(_split(plan, size), x.split(size, 3), strict=False)
    return torch.cat([walk(*block, in_place=True).movedim(3, 0) for block in blocks]).movedim(0, 3)


def _split(plan: Plan, size: int) -> Iterator[Plan]:
    """Return the plan of each block of samples."""
    return zip(*[_split_stage(stage, size) for stage in plan], strict=False)


def _split_stage(stage: Stage, size: int) -> Iterator[Stage]:
    """Return the stage of each block; scales and gates are split, as they are per sample."""
    vectors = (stage.scale, stage.gate)
    parts = [repeat(None) if v is None else v.split(size, 2) for v in vectors]
    return (stage._replace(scale=scale, gate=gate) for scale, gate in zip(*parts, strict=False))


def _is_watched(x: Tensor) -> bool:
    """Return whether PyTorch traces, transforms or casts the operations."""
    return bool(traced() or transformed(x) or is_cast(x))
