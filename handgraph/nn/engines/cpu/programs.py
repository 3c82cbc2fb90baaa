"""The programs of plans, in a cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from handgraph.nn.engines.cpu.program import Program
from handgraph.nn.engines.cpu.writer import Writer
from handgraph.nn.engines.outline import restore
from handgraph.nn.plan import Graph, Map, NodeMap, Scale, Select, Shape, Stage, Term, shapes


def program_of(code: tuple[int, ...], x: Tensor, parts: Sequence[Tensor]) -> Program | str:
    """Return the program of an outline for these tensors, or the reason why it has none."""
    sizes = tuple([(part.shape, part.stride()) for part in parts])
    made = _program(code, sizes, Shape(*x.shape[:3]))
    if not isinstance(made, str):
        for slot, _, nodes in made.scales:
            if parts[slot - 1].shape != (x.shape[0], nodes, x.shape[3]):
                return "the factors of a scale are not [N, J, B]"
    return made


@lru_cache(maxsize=1024)
def _program(
    code: tuple[int, ...],
    sizes: tuple[tuple[torch.Size, tuple[int, ...]], ...],
    given: Shape,
) -> Program | str:
    """Return the program of an outline, or the reason why it has none.

    Args:
        code: The outline.
        sizes: The sizes and strides of its tensors.
        given: The shape of the input.
    """
    parts = [torch.empty_strided(*size, device="meta") for size in sizes]
    plan = restore(code, parts)
    found = shapes(plan, given)
    if any(shape.branches != given.branches for shape in found):
        return "its stages differ in the number of branches"
    if not all(_is_supported(term) for stage in plan for term in stage.terms):
        return "a term selects nodes, or both scales nodes and mixes channels"
    if min(found[0][1:]) < 1 or not all(map(_is_usual, plan, found[1:])):
        return "a tensor of the plan has an unsupported shape"
    return Writer(plan, parts, found, reused=False).program()


def _is_supported(term: Term) -> bool:
    if isinstance(term.node_map, Scale):
        return term.weight is None
    return not isinstance(term.node_map, Select)


def _is_usual(stage: Stage, shape: Shape) -> bool:
    """Return whether compiled code supports the shapes of a stage; it does not broadcast."""
    bias = () if stage.bias is None else stage.bias.shape[1:]
    rows = (shape.nodes, shape.channels)
    if bias not in ((), rows[1:], (1, shape.channels), rows) or min(rows) < 1:
        return False
    return bool(stage.terms) and all(_is_usual_map(term.node_map) for term in stage.terms)


def _is_usual_map(one: Map | None) -> bool:
    if isinstance(one, Scale):
        return one.factors.dim() == 3
    if isinstance(one, Graph):
        return one.adjacency.dim() == 3 and one.adjacency.shape[1] == one.adjacency.shape[2]
    if not isinstance(one, NodeMap) or one.bias is None:
        return True
    return one.bias.shape[1:] == (one.matrix.shape[1], 1)
