"""Run a plan, in blocks of samples if no gradient is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.engines.conditions import traced
from handgraph.nn.engines.reference.walk import walk
from handgraph.nn.fuse import Graphs, fuse, normalized_graphs
from handgraph.nn.plan import Plan, Scale, Term, tensors

MANY = 512
"""Number of samples above which fused maps save more time than their products take."""

BLOCK = 1024
"""Largest number of samples per block on a CPU without gradients. Larger intermediates do not fit
the cache."""


def run(plan: Plan, x: Tensor) -> Tensor:
    """Run a plan on ``[N, J, C, B]``. Autograd computes its derivative."""
    check_device(x, "the input", next(iter(tensors(plan)), x))
    if traced() or x.shape[3] > MANY:
        return run_normalized(fuse(plan), x, {})
    return run_normalized(plan, x, normalized_graphs(plan))


def run_normalized(plan: Plan, x: Tensor, graphs: Graphs) -> Tensor:
    """Run a plan whose graphs are normalised. A fused plan has none."""
    samples, is_traced = x.shape[3], traced() is not None
    if not is_traced and samples == 1:
        return walk(plan, x.squeeze(3), graphs).unsqueeze(3)
    if is_traced or not x.is_cpu or samples <= BLOCK or _needs_gradient([x, *tensors(plan)]):
        return walk(plan, x, graphs)
    places = [slice(start, start + BLOCK) for start in range(0, samples, BLOCK)]
    outs = [walk(_block(plan, place), x[..., place], graphs) for place in places]
    return torch.cat(outs, dim=3)


def _needs_gradient(parts: list[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in parts)


def _block(plan: Plan, place: slice) -> Plan:
    """Return the plan for some of the samples; factors are per sample."""

    def cut(term: Term) -> Term:
        if not isinstance(term.node_map, Scale):
            return term
        return term._replace(node_map=Scale(term.node_map.factors[..., place]))

    return tuple([stage._replace(terms=tuple(map(cut, stage.terms))) for stage in plan])
