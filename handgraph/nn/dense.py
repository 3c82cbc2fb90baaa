"""Dense plans: one matrix per term, over all channels of all nodes."""

from __future__ import annotations

import torch

from handgraph.nn.fuse import fuse
from handgraph.nn.plan import NodeMap, Plan, Scale, Select, Shape, Stage, Term, shapes


def dense(plan: Plan, given: Shape) -> Plan:
    """Replace the two maps of every term by one matrix over all channels of all nodes.

    The dense plan reads and writes ``[N, J C, 1]``. It has fewer matrix products, with more
    multiplications.

    Raises:
        ValueError: If a term scales nodes, or both selects nodes and has a weight.
    """
    plan = fuse(plan)
    found = shapes(plan, given)
    return tuple(
        _dense_stage(stage, [found[term.source] for term in stage.terms], out)
        for stage, out in zip(plan, found[1:], strict=True)
    )


def _dense_stage(stage: Stage, given: list[Shape], out: Shape) -> Stage:
    terms = (_dense_term(*pair) for pair in zip(stage.terms, given, strict=True))
    bias = stage.bias
    if bias is not None:
        bias = bias.expand(-1, *out[1:]).flatten(1).unsqueeze(2)
    return stage._replace(terms=tuple(terms), bias=bias)


def _dense_term(term: Term, given: Shape) -> Term:
    source, one, weight = term
    if isinstance(one, Select):
        if weight is not None:
            raise ValueError("dense: expected terms that select nodes without a weight")
        return Term(source, _dense_select(one, given.channels))
    if isinstance(one, Scale):
        raise ValueError("dense: expected terms that do not scale nodes")
    matrix = None if one is None else one[0]
    like = matrix if weight is None else weight
    if like is None:
        return term
    nodes, channels = (like.new_ones(n).diag().unsqueeze(0) for n in given[1:])
    nodes = nodes if matrix is None else matrix
    channels = channels if weight is None else weight
    branches = max(len(nodes), len(channels))
    nodes, channels = (m.expand(branches, -1, -1) for m in (nodes, channels))
    both = torch.einsum("nij,ndc->nidjc", nodes, channels).flatten(3).flatten(1, 2)
    return Term(source, NodeMap(both))


def _dense_select(one: Select, channels: int) -> Select:
    """Return the selection of all channels of the chosen nodes."""
    chosen = one.chosen.unsqueeze(2)
    columns = chosen * channels + torch.arange(channels, device=chosen.device)
    return Select(columns.where(chosen >= 0, -1).flatten(1), one.nodes * channels)
