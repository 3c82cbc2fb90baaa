"""Plans as integers and tensors, the argument types of PyTorch operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from torch import Tensor

from handgraph.nn.plan import Graph, Map, NodeMap, Plan, Scale, Select, Stage, Term

NONE, GRAPH, NODE_MAP, SCALE, SELECT = range(5)


def outline(plan: Plan) -> tuple[tuple[int, ...], list[Tensor]]:
    """Return the structure of a plan as integers, and its distinct tensors.

    Tensors are numbered from 1, and 0 stands for ``None``. Plans with the same structure have equal
    integers.
    """
    slots = _Slots()
    code: list[int] = []
    for terms, bias, relu in plan:
        code.append(len(terms))
        for source, one, weight in terms:
            code += (source, slots.number(weight), *_numbers(one, slots))
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


def _numbers(one: Map | None, slots: _Slots) -> tuple[int, int, int]:
    if isinstance(one, NodeMap):
        return NODE_MAP, slots.number(one.matrix), slots.number(one.bias)
    if isinstance(one, Graph):
        return GRAPH, slots.number(one.adjacency), int(one.normalization == "signed")
    if isinstance(one, Select):
        return SELECT, slots.number(one.chosen), one.nodes
    return (NONE, 0, 0) if one is None else (SCALE, slots.number(one.factors), 0)


def restore(code: Sequence[int], parts: Sequence[Tensor]) -> Plan:
    """Rebuild a plan from :func:`outline`."""
    rest, table = iter(code), (None, *parts)
    return tuple([_stage(count, rest, table) for count in rest])


def _stage(count: int, rest: Iterator[int], parts: Sequence[Tensor | None]) -> Stage:
    terms = tuple([_term(rest, parts) for _ in range(count)])
    bias, relu = next(rest), next(rest)
    return Stage(terms, parts[bias], bool(relu))


def _term(rest: Iterator[int], parts: Sequence[Tensor | None]) -> Term:
    source, weight, kind, first, second = next(rest), next(rest), next(rest), next(rest), next(rest)
    return Term(source, _map(kind, parts[first], second, parts), parts[weight])


def _map(
    kind: int, first: Tensor | None, second: int, parts: Sequence[Tensor | None]
) -> Map | None:
    if kind == NONE:
        return None
    tensor = cast("Tensor", first)
    if kind == NODE_MAP:
        return NodeMap(tensor, parts[second])
    if kind == GRAPH:
        return Graph(tensor, ("abs", "signed")[second])
    return Select(tensor, second) if kind == SELECT else Scale(tensor)
