"""Fuse the adjacent linear maps of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from handgraph.nn.plan import Graph, Map, NodeMap, Plan, Scale, Select, Stage, Term


def fuse(plan: Plan) -> Plan:
    """Multiply the maps over nodes of every term into one matrix.

    Biases of the maps become part of the biases of the stages. A stage with such maps must not read
    more branches than its maps and weights have. Differentiable.

    Raises:
        ValueError: If a Select or a Scale is not the only map of its term.
    """
    known: dict[tuple[int, ...], NodeMap] = {}
    return tuple([_fuse_stage(stage, known) for stage in plan])


def check_selection(one: Select) -> Select:
    """Return ``one``, and raise if it selects a node that does not exist."""
    chosen, nodes = one
    known = type(chosen) is Tensor and not chosen.is_meta and not torch.compiler.is_compiling()
    if known and chosen.numel() and not -1 <= chosen.min() <= chosen.max() < nodes:
        raise ValueError(f"Select: expected -1 or nodes below {nodes}, got {chosen.tolist()}")
    return one


def branches(terms: Sequence[Term]) -> int:
    """Return the number of branches of the tensors of fused terms."""
    parts = [part for _, maps, weight in terms for part in (weight, *[one[0] for one in maps])]
    return max([part.shape[0] for part in parts if part is not None], default=1)


def _fuse_stage(stage: Stage, known: dict[tuple[int, ...], NodeMap]) -> Stage:
    terms, bias, _ = stage
    fused, shifts = [], []
    for source, maps, weight in terms:
        one = _product(maps, known) if maps else None
        if type(one) is NodeMap and one.bias is not None:
            sums = 1 if weight is None else weight.sum(2).unsqueeze(1)
            shifts.append(one.bias * sums)
            one = NodeMap(one.matrix)
        fused.append(Term(source, () if one is None else (one,), weight))
    if bias is not None and bias.dim() == 2:
        bias = bias.unsqueeze(1)
    if shifts:
        bias = _shifted(bias, reduce(torch.add, shifts), branches(fused))
    return stage._replace(terms=tuple(fused), bias=bias)


def _product(
    maps: tuple[Map, ...], known: dict[tuple[int, ...], NodeMap]
) -> NodeMap | Scale | Select:
    """Return the product of maps. Each is computed once, as stages share graphs and poolings."""
    *before, last = maps
    if not before and isinstance(last, Select):
        return check_selection(last)
    if not before and isinstance(last, NodeMap | Scale):
        return last
    key = tuple([id(one) for one in maps])
    if key not in known:
        if not before and isinstance(last, Graph):
            known[key] = last.node_map()
        else:
            first, then = _product(maps[:-1], known), _product(maps[-1:], known)
            if not (isinstance(first, NodeMap) and isinstance(then, NodeMap)):
                raise ValueError(
                    "plan: expected a Select or a Scale to be the only map of its term"
                )
            known[key] = then.after(first)
    return known[key]


def _shifted(bias: Tensor | None, shift: Tensor, several: int) -> Tensor:
    """Add the biases of the maps of all terms to the bias of a stage with several branches."""
    if several > 1:
        shift = shift.expand(several, -1, -1)
    if bias is None:
        return shift
    return bias + (shift.sum(0, True) if len(bias) == 1 else shift)
