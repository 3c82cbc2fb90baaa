"""Fuse the adjacent linear maps of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

from handgraph.nn.adjacency import degree_scale
from handgraph.nn.plan import Graph, Map, NodeMap, Plan, Select, Stage, Term


def fuse(plan: Plan) -> Plan:
    """Multiply the maps over nodes of every term into one matrix.

    Biases of the maps become part of the biases of the stages. A stage with such maps must not read
    more branches than its maps and weights have. Differentiable.

    Raises:
        ValueError: If a Select is not the only map of its term, or a map with a bias is in a stage
            with a scale.
    """
    return Fusion().fuse(plan)


class Product(NamedTuple):
    """The product of two maps over nodes."""

    then: NodeMap
    first: NodeMap
    both: NodeMap


class Normalized(NamedTuple):
    """A graph, the scale of its nodes (see :func:`degree_scale`), and the graph as a map."""

    graph: Graph
    scale: Tensor
    node_map: NodeMap


def check_selection(one: Select) -> Select:
    """Return ``one``, and raise if it selects a node that does not exist."""
    chosen, nodes = one
    known = type(chosen) is Tensor and not chosen.is_meta and not torch.compiler.is_compiling()
    if known and chosen.numel() and not -1 <= chosen.min() <= chosen.max() < nodes:
        raise ValueError(f"Select: expected -1 or nodes below {nodes}, got {chosen.tolist()}")
    return one


class Fusion:
    """Fuses plans, and records every product once, also for the derivative."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, ...], NodeMap] = {}
        self.graphs: list[Normalized] = []
        self.products: list[Product] = []

    def fuse(self, plan: Plan) -> Plan:
        """Return the fused plan."""
        return tuple([self._stage(stage) for stage in plan])

    def node_map(self, maps: tuple[Map, ...]) -> NodeMap | Select:
        """Return the product of these maps."""
        first, *others = maps
        if not others and not isinstance(first, Graph):
            return check_selection(first) if isinstance(first, Select) else first
        key = tuple([id(one) for one in maps])
        found = self.known.get(key)
        if found is None:
            is_graph = not others and isinstance(first, Graph)
            found = self._normalize(cast("Graph", first)) if is_graph else self._join(maps)
            self.known[key] = found
        return found

    def _normalize(self, graph: Graph) -> NodeMap:
        adjacency, normalization = graph
        scale = degree_scale(adjacency, normalization)
        node_map = NodeMap(scale.mT * adjacency * scale)
        self.graphs.append(Normalized(graph, scale, node_map))
        return node_map

    def _join(self, maps: tuple[Map, ...]) -> NodeMap:
        first, then = self.node_map(maps[:-1]), self.node_map(maps[-1:])
        if isinstance(first, Select) or isinstance(then, Select):
            raise ValueError("plan: expected a Select to be the only map of its term")
        matrix, shift = _multiply(then.matrix, first.matrix), then.bias
        if first.bias is not None:
            shift = _multiply(then.matrix, first.bias)
            shift = shift if then.bias is None else shift + then.bias
        self.products.append(Product(then, first, NodeMap(matrix, shift)))
        return self.products[-1].both

    def _stage(self, stage: Stage) -> Stage:
        terms, bias, relu, scale, gate = stage
        if bias is not None and bias.dim() == 2:
            bias = bias.unsqueeze(1)
        fused, shifts = [], []
        for term in terms:
            source, maps, weight = term
            if maps:
                one = self.node_map(maps)
                if type(one) is NodeMap and one.bias is not None:
                    shifts.append((one.bias, weight))
                    one = NodeMap(one.matrix)
                term = Term(source, (one,), weight)
            fused.append(term)
        if shifts and scale is not None:
            raise ValueError("plan: expected maps without a bias in a stage with a scale")
        if shifts:
            bias = _shifted(bias, shifts, branches(fused))
        return Stage(tuple(fused), bias, relu, scale, gate)


def branches(terms: Sequence[Term]) -> int:
    """Return the number of branches of the tensors of fused terms."""
    parts = [part for _, maps, weight in terms for part in (weight, *[one[0] for one in maps])]
    return max([part.shape[0] for part in parts if part is not None], default=1)


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b) if a.shape[0] == b.shape[0] else a @ b


_Shift: TypeAlias = tuple[Tensor, Tensor | None]


def _shifted(bias: Tensor | None, shifts: list[_Shift], several: int) -> Tensor:
    """Add the biases of the maps of all terms to the bias of the stage."""
    if several == 1 or (bias is not None and bias.shape[0] > 1):
        return _add(bias, *shifts)
    total = _add(None, *shifts).expand(several, -1, -1)
    return total if bias is None else bias + total.sum(0, True)


def _add(total: Tensor | None, *shifts: _Shift) -> Tensor:
    for shift, weight in shifts:
        if weight is None:
            total = shift.view_as(shift) if total is None else total + shift
        else:
            sums = weight.sum(2).unsqueeze(1)
            total = shift * sums if total is None else torch.addcmul(total, shift, sums)
    return cast("Tensor", total)
