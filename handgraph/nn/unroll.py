"""Rewrite a plan so that every stage has one branch."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.nn.fuse import branches, fuse
from handgraph.nn.plan import Map, Plan, Select, Shape, Stage, Term, shapes, tensors


def unroll(plan: Plan, given: Shape) -> Plan:
    """Replace every stage by one stage per branch.

    The branches of the input and the output become nodes of one branch: ``[N, J, C]`` is read and
    written as ``[1, N J, C]``. The stages are sorted by branch, and stages that read all branches
    are last. Stages without influence on the output are removed. Differentiable.

    Args:
        plan: Any plan.
        given: The shape of its input.
    """
    work = _Unrolling(fuse(plan), given)
    count, nodes, _ = work.found[-1]
    ends = [work.source(len(work.plan), branch) for branch in range(count)]
    if count > 1:
        rows = torch.eye(count, dtype=torch.long, device=work.device).unsqueeze(2)
        index = torch.arange(nodes, device=work.device) * rows + rows - 1  # -1 off the diagonal
        maps = [Select(row.view(1, -1), nodes) for row in index]
        terms = (Term(end, one) for end, one in zip(ends, maps, strict=True))
        work.stages.append(Stage(tuple(terms), relu=False))
    return tuple(work.stages)


class _Unrolling:
    """The stages made so far. Each reads earlier ones only."""

    def __init__(self, plan: Plan, given: Shape):
        self.plan, self.found = plan, shapes(plan, given)
        self.device = next((part.device for part in tensors(plan)), torch.device("cpu"))
        self.stages: list[Stage] = []
        self.places: dict[tuple[int, int], int] = {}

    def source(self, number: int, branch: int) -> int:
        """Return the source that holds a branch of an earlier output, and add it if missing."""
        count = self.found[number].branches
        branch = min(branch, count - 1)  # all branches read the only branch
        if number == 0 and count == 1:
            return 0
        if (number, branch) not in self.places:
            stage = self._stage(number, branch) if number else self._input(branch)
            self.stages.append(stage)
            self.places[number, branch] = len(self.stages)
        return self.places[number, branch]

    def _input(self, branch: int) -> Stage:
        nodes = self.found[0].nodes
        index = torch.arange(branch * nodes, (branch + 1) * nodes, device=self.device)
        one = Select(index.unsqueeze(0), self.found[0].branches * nodes)
        return Stage((Term(0, one),), relu=False)

    def _stage(self, number: int, branch: int) -> Stage:
        stage, each = self.plan[number - 1], range(branch, branch + 1)
        if self.found[number].branches == 1:  # a sum over all branches of its terms
            most = max(self.found[term.source].branches for term in stage.terms)
            each = range(max(most, branches(stage.terms)))
        terms = tuple(self._term(term, n) for n in each for term in stage.terms)
        return Stage(terms, _row(stage.bias, branch), stage.relu)

    def _term(self, term: Term, branch: int) -> Term:
        source, one = self.source(term.source, branch), term.node_map
        return Term(source, one and _map(one, branch), _row(term.weight, branch))


def _map(one: Map, branch: int) -> Map:
    """Return one branch of a fused map, which has no bias."""
    first, *rest = one
    return type(one)(_row(first, branch), *rest)  # type: ignore[arg-type]


def _row(part: Tensor | None, branch: int) -> Tensor | None:
    """Return one branch of a tensor ``[N, ...]`` or ``[1, ...]``."""
    if part is None or len(part) == 1:
        return part
    return part[branch : branch + 1]
