"""Plans as integers and tensors, the argument types of PyTorch operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from torch import Tensor

from handgraph.nn.plan import Graph, Map, NodeMap, Plan, Scale, Select, Stage, Term

GRAPH, NODE_MAP, SCALE, SELECT = range(4)


def outline(plan: Plan) -> tuple[tuple[int, ...], list[Tensor]]:
    """Return the structure of a plan as integers, and its distinct tensors.

    Tensors are numbered from 1, and 0 stands for ``None``. Plans with the same structure have equal
    integers.
    """
    slots = _Slots()
    code: list[int] = []
    for terms, bias, relu in plan:
        code.append(len(terms))
        for source, maps, weight in terms:
            code += (source, len(maps), slots.number(weight))
            for one in maps:
                code += _numbers(one, slots)
        code += (slots.number(bias), int(relu))
    return tuple(code), slots.parts


class _Slots:
    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.seen: dict[int, int] = {}

    def number(self, tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        found = self.seen.get(id(tensor))
        if found is None:
            self.parts.append(tensor)
            found = self.seen[id(tensor)] = len(self.parts)
        return found


def _numbers(one: Map, slots: _Slots) -> tuple[int, int, int]:
    if isinstance(one, NodeMap):
        return NODE_MAP, slots.number(one.matrix), slots.number(one.bias)
    if isinstance(one, Select):
        return SELECT, slots.number(one.chosen), one.nodes
    if isinstance(one, Scale):
        return SCALE, slots.number(one.factors), 0
    return GRAPH, slots.number(one.adjacency), int(one.normalization == "signed")


def restore(code: Sequence[int], parts: Sequence[Tensor]) -> Plan:
    """Rebuild a plan from :func:`outline`."""
    rest, table = iter(code), (None, *parts)
    return tuple([_stage(count, rest, table) for count in rest])


def _stage(count: int, rest: Iterator[int], parts: Sequence[Tensor | None]) -> Stage:
    terms = tuple([_term(rest, parts) for _ in range(count)])
    bias, relu = next(rest), next(rest)
    return Stage(terms, parts[bias], bool(relu))


def _term(rest: Iterator[int], parts: Sequence[Tensor | None]) -> Term:
    source, count, weight = next(rest), next(rest), next(rest)
    return Term(source, tuple([_map(rest, parts) for _ in range(count)]), parts[weight])


def _map(rest: Iterator[int], parts: Sequence[Tensor | None]) -> Map:
    kind, first, second = next(rest), next(rest), next(rest)
    tensor = cast("Tensor", parts[first])
    if kind == NODE_MAP:
        return NodeMap(tensor, parts[second])
    if kind == SCALE:
        return Scale(tensor)
    return Select(tensor, second) if kind == SELECT else Graph(tensor, ("abs", "signed")[second])
