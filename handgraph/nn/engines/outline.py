"""Plans as integers and tensors, the argument types of PyTorch operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from torch import Tensor

from handgraph.nn.plan import Graph, Map, NodeMap, Plan, Scale, Select, Stage, Term

NONE, GRAPH, NODE_MAP, SCALE, SELECT = range(5)


def outline(plan: Plan) -> tuple[tuple[int, ...], list[Tensor]]:
    """Return the structure of a plan as integers, and its distinct tensors.

    Tensors are numbered from 1, and 0 stands for ``None``. Plans with the same structure have equal
    integers.
    """
    known: dict[int, tuple[int, Tensor]] = {}

    def slot(part: Tensor | None) -> int:
        return 0 if part is None else known.setdefault(id(part), (len(known) + 1, part))[0]

    code: list[int] = []
    for terms, bias, relu in plan:
        code.append(len(terms))
        for source, one, weight in terms:
            code += (source, slot(weight), *_numbers(one, slot))
        code += (slot(bias), int(relu))
    return tuple(code), [part for _, part in known.values()]


def _numbers(one: Map | None, slot: Callable[[Tensor | None], int]) -> tuple[int, int, int]:
    if one is None:
        return NONE, 0, 0
    if isinstance(one, NodeMap):
        return NODE_MAP, slot(one.matrix), slot(one.bias)
    if isinstance(one, Graph):
        return GRAPH, slot(one.adjacency), int(one.normalization == "signed")
    if isinstance(one, Select):
        return SELECT, slot(one.chosen), one.nodes
    return SCALE, slot(one.factors), 0


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
