"""Dense stages for inference with small batches.

For small batches, the overhead of calls exceeds the time of the products. Dense matrices need the
fewest calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from handgraph.nn.engines.kept import KeptTensors
from handgraph.nn.engines.reference.terms import gather
from handgraph.nn.plan import Plan, Select, Shape, Stage, Term, shapes

SAME, MATRIX, SELECT = range(3)


class Outline(NamedTuple):
    """A stage without its tensors.

    Args:
        terms: Source and kind of each term, and whether a single branch is broadcast.
        branches: The number of branches of the terms.
        sums: Whether to sum over the branches.
        bias: Whether the stage has a bias.
        relu: Whether a ReLU follows.
    """

    terms: list[tuple[int, int, bool]]
    branches: int
    sums: bool
    bias: bool
    relu: bool


class DenseStages(KeptTensors):
    """A plan from :func:`handgraph.nn.dense.dense`, with its tensors as non-persistent buffers.

    Args:
        plan: The plan; its tensors are copied.
        given: The shape of its input.

    Shapes:
        - input: ``[N, B, F]``, the channels of all nodes
        - output: ``[N', B, F']``
    """

    def __init__(self, plan: Plan, given: Shape):
        found = [shape.branches for shape in shapes(plan, given)]
        stages = [_outline(stage, found) for stage in plan]
        super().__init__(_parts(plan, stages), persistent=False)
        self.stages = stages

    @property
    def size(self) -> int:
        """The number of entries of all tensors."""
        return sum(part.numel() for part in self.parts())

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        for kept, part in zip(self.parts(), _parts(plan, self.stages), strict=True):
            kept.copy_(part)

    def forward(self, x: Tensor) -> Tensor:
        """Run the stages."""
        parts = iter(self.parts())
        outs = [x]
        for terms, branches, sums, bias, relu in self.stages:
            out: Tensor | None = None
            for source, kind, one in terms:
                x = outs[source].expand(branches, -1, -1) if one else outs[source]
                if kind == MATRIX:
                    matrix = next(parts)
                    out = torch.bmm(x, matrix) if out is None else out.baddbmm_(x, matrix)
                else:
                    x = gather(x.mT, next(parts)).mT if kind == SELECT else x.clone()
                    out = x if out is None else out.add_(x)
            total = cast("Tensor", out)
            total = total.sum(0, True) if sums else total
            total = total.add_(next(parts)) if bias else total
            outs.append(total.relu_() if relu else total)
        return outs[-1]


def _parts(plan: Plan, stages: Sequence[Outline]) -> list[Tensor]:
    """Return the tensors in order of use, with all branches, transposed for row vectors."""
    parts = []
    for stage, (_, branches, *_) in zip(plan, stages, strict=True):
        tensors = [(one[0], _kind(term)) for term in stage.terms for one in term.maps]
        parts += [t.mT.expand(branches, -1, -1) if k == MATRIX else t for t, k in tensors]
        parts += [] if stage.bias is None else [stage.bias.mT]
    return parts


def _outline(stage: Stage, found: list[int]) -> Outline:
    """Return the outline of a stage, given the number of branches of each source."""
    terms, bias, relu, _, _ = stage
    most = max([len(one[0]) for term in terms for one in term.maps], default=1)
    branches = max(most, *[found[term.source] for term in terms], 1 if bias is None else len(bias))
    each = [(t.source, _kind(t), max(_read(t), found[t.source]) < branches) for t in terms]
    sums = bias is not None and len(bias) < branches
    return Outline(each, branches, sums, bias is not None, relu)


def _read(term: Term) -> int:
    """Return the number of branches of the selection of a term, else 1."""
    return len(term.maps[0][0]) if _kind(term) == SELECT else 1


def _kind(term: Term) -> int:
    if not term.maps:
        return SAME
    return SELECT if isinstance(term.maps[0], Select) else MATRIX
