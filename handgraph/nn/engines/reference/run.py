"""Run a plan, in blocks of samples if no gradient is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.engines.looking import traced
from handgraph.nn.engines.reference.walk import walk
from handgraph.nn.fuse import fuse
from handgraph.nn.plan import Plan, Scale, Term, tensors

BLOCK = 1024
"""Largest number of samples per block on a CPU without gradients. Larger intermediates do not fit
the cache."""


def run(plan: Plan, x: Tensor) -> Tensor:
    """Run a plan on ``[N, J, C, B]``. Autograd computes its derivative."""
    check_device(x, "the input", next(iter(tensors(plan)), x))
    return run_fused(fuse(plan), x)


def run_fused(plan: Plan, x: Tensor) -> Tensor:
    """Run a plan whose maps are fused."""
    if traced() or not x.is_cpu or x.shape[3] <= BLOCK or _needs_gradient(plan, x):
        return walk(plan, x)
    places = [slice(start, start + BLOCK) for start in range(0, x.shape[3], BLOCK)]
    outs = [walk(_block(plan, place), x[..., place]).movedim(3, 0) for place in places]
    return torch.cat(outs).movedim(0, 3)


def _needs_gradient(plan: Plan, x: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in (x, *tensors(plan)))


def _block(plan: Plan, place: slice) -> Plan:
    """Return the plan for some of the samples; factors are per sample."""

    def cut(term: Term) -> Term:
        maps = [Scale(m.factors[..., place]) if isinstance(m, Scale) else m for m in term.maps]
        return term._replace(maps=tuple(maps))

    return tuple([stage._replace(terms=tuple(map(cut, stage.terms))) for stage in plan])
