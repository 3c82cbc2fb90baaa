"""Fuse the adjacent linear maps of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from handgraph.nn.plan import Graph, NodeMap, Plan, Scale, Select, Stage, Term

Graphs = Mapping[int, NodeMap]
"""The normalised adjacency of each graph of a plan, by the ``id`` of the graph."""


def fuse(plan: Plan) -> Plan:
    """Merge every linear stage that a single term reads into the stage of that term.

    Graphs are normalised, and biases of maps over nodes become part of the biases of the stages. A
    stage with such maps must not read more branches than its maps and weights have. Differentiable.
    """
    readers = Counter(term.source for stage in plan for term in stage.terms)
    graphs, fusing = normalized_graphs(plan), _Fusing()
    for number, stage in enumerate(plan, start=1):
        fused = fusing.read(_plain(stage, graphs))
        if fused.relu or readers[number] != 1 or number == len(plan):
            fusing.keep(number, fused)
        else:
            fusing.linear[number] = fused
    return tuple(fusing.stages)


def join(*plans: Plan) -> Plan:
    """Return one plan that runs plans one after the other."""
    joined: list[Stage] = []
    for plan in plans:
        start = len(joined)
        joined += [moved(stage, start) for stage in plan]
    return tuple(joined)


def moved(stage: Stage, shift: int) -> Stage:
    """Return the stage with its sources shifted."""
    terms = [term._replace(source=term.source + shift) for term in stage.terms]
    return stage._replace(terms=tuple(terms))


def normalized_graphs(plan: Plan) -> Graphs:
    """Normalise each graph of a plan once, and check its selections."""
    maps = {id(term.node_map): term.node_map for stage in plan for term in stage.terms}
    for one in maps.values():
        if isinstance(one, Select):
            check_selection(one)
    return {key: one.node_map() for key, one in maps.items() if isinstance(one, Graph)}


def check_selection(one: Select) -> Select:
    """Return ``one``, and raise if it selects a node that does not exist."""
    chosen, nodes = one
    known = type(chosen) is Tensor and not chosen.is_meta and not torch.compiler.is_compiling()
    if known and chosen.numel() and not -1 <= chosen.min() <= chosen.max() < nodes:
        raise ValueError(f"Select: expected -1 or nodes below {nodes}, got {chosen.tolist()}")
    return one


def branches(terms: Sequence[Term]) -> int:
    """Return the number of branches of the tensors of terms."""
    parts = [part for _, one, weight in terms for part in (weight, one and one[0])]
    return max([part.shape[0] for part in parts if part is not None], default=1)


def mixes_nodes_first(nodes: tuple[int, int], channels: tuple[int, int]) -> bool:
    """Return whether a term needs no more multiplications if it mixes nodes before channels.

    Args:
        nodes: The numbers of nodes after and before the term.
        channels: The same for the channels.
    """
    (nodes_out, nodes_in), (outs, ins) = nodes, channels
    return ins * nodes_out * (nodes_in + outs) <= outs * nodes_in * (ins + nodes_out)


def _plain(stage: Stage, graphs: Graphs) -> Stage:
    """Return a stage whose maps over nodes are matrices without biases, selections or scales."""
    terms, shifts, bias = [], [], stage.bias
    for source, one, weight in stage.terms:
        one = graphs[id(one)] if isinstance(one, Graph) else one
        if isinstance(one, NodeMap) and one.bias is not None:
            shifts.append(one.bias if weight is None else one.bias * weight.sum(2).unsqueeze(1))
            one = NodeMap(one.matrix)
        terms.append(Term(source, one, weight))
    if bias is not None and bias.dim() == 2:
        bias = bias.unsqueeze(1)
    if shifts:
        bias = _add(bias, reduce(torch.add, shifts).expand(branches(terms), -1, -1))
    return stage._replace(terms=tuple(terms), bias=bias)


def _add(bias: Tensor | None, shift: Tensor) -> Tensor:
    """Add the bias of each branch to that of a stage, which may sum over the branches."""
    if bias is None:
        return shift
    return bias + (shift.sum(0, True) if len(bias) == 1 else shift)


class _Fusing:
    """The stages made so far, and linear stages that the next stages may absorb."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.places = {0: 0}
        self.linear: dict[int, Stage] = {}

    def keep(self, number: int, stage: Stage) -> None:
        """Append a stage."""
        self.stages.append(stage)
        self.places[number] = len(self.stages)

    def read(self, stage: Stage) -> Stage:
        """Return a stage after it absorbed the linear stages that it reads."""
        terms: list[Term] = []
        bias = stage.bias
        for term in stage.terms:
            gone = self.linear.pop(term.source, None)
            if gone is not None and _fits(gone, stage, term):
                terms += [_after(term, earlier) for earlier in gone.terms]
                bias = bias if gone.bias is None else _add(bias, _apply(term, gone.bias))
                continue
            if gone is not None:
                self.keep(term.source, gone)
            terms.append(term._replace(source=self.places[term.source]))
        return stage._replace(terms=tuple(terms), bias=bias)


def _fits(gone: Stage, reader: Stage, term: Term) -> bool:
    """Return whether a term of ``reader`` reads one branch of ``gone`` in each of its branches.

    That is so if all tensors have equally many branches, or if ``gone`` sums over its branches, and
    nothing else that ``reader`` sums has branches.
    """
    if any(isinstance(one.node_map, Scale | Select) for one in (*gone.terms, term)):
        return False
    is_only = len(reader.terms) == 1
    if gone.bias is not None and len(gone.bias) == 1:
        single = reader.bias is None or len(reader.bias) == 1
        return is_only and single and branches(reader.terms) == 1
    counts = {branches([one]) for one in (*gone.terms, *reader.terms)}
    return len(counts | (set() if gone.bias is None else {len(gone.bias)})) == 1


def _after(term: Term, earlier: Term) -> Term:
    """Return the composition of ``earlier`` and then ``term``."""
    one, weight = earlier.node_map or term.node_map, earlier.weight
    if isinstance(earlier.node_map, NodeMap) and isinstance(term.node_map, NodeMap):
        one = term.node_map.after(earlier.node_map)
    if term.weight is not None:
        weight = term.weight if weight is None else term.weight @ weight
    return Term(earlier.source, one, weight)


def _apply(term: Term, x: Tensor) -> Tensor:
    """Apply a fused term to ``[N, J, C]``, or to ``[N, J, 1]`` with equal channels."""
    if term.node_map is not None:
        matrix = term.node_map[0]
        x = matrix @ x.expand(-1, matrix.shape[2], -1)
    if term.weight is None:
        return x
    weight = term.weight.sum(2, keepdim=True) if x.shape[2] == 1 else term.weight
    return x @ weight.mT
