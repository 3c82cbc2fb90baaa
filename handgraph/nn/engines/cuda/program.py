"""Plans in the format of the kernels: chains of dense maps with skip connections."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch

from handgraph.nn.dense import dense
from handgraph.nn.plan import Plan, Select, Shape, Stage, shapes
from handgraph.nn.unroll import unroll

TILE = 64
"""Rows and columns of the parts of matrices."""


class Program(NamedTuple):
    """The structure of a chain: all arguments of the kernels except its values.

    A step is a sum of products with dense matrices, plus a bias. Sources are numbered: first the
    inputs, then the outputs of the steps. The last one is the output of the chain.

    Args:
        branches: Number of branches, the same in all steps.
        in_width: Size of an input sample over all branches.
        columns: For each branch, the columns of a sample that form its inputs; -1 for zeros.
            Empty if there is one input, and each branch reads its own part of the sample.
        widths: Size of each input, then of the output of each step, in one branch.
        sources: The sources of each step.
        relus: Whether a ReLU follows each step.
        tile: Rows and columns of a part; a power of two, 16 or more.
    """

    branches: int
    in_width: int
    columns: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]
    relus: tuple[bool, ...]
    tile: int = TILE

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return len(self.widths) - len(self.sources)

    @property
    def out_width(self) -> int:
        """Size of an output sample over all branches."""
        return self.branches * self.widths[-1]

    @property
    def tiles(self) -> list[int]:
        """The number of tiles of each input and output."""
        return [-(-width // self.tile) for width in self.widths]


def lower(plan: Plan, given: Shape) -> tuple[Plan, Program]:
    """Make a plan dense, and unroll it if the number of branches changes within it."""
    plan, given = dense(plan, given), Shape(given.branches, given.nodes * given.channels, 1)
    if not is_uniform(shapes(plan, given)):
        plan, given = unroll(plan, given), Shape(1, given.branches * given.nodes, 1)
    return plan, _program(plan, given)


def is_uniform(found: list[Shape]) -> bool:
    """Return whether all stages have equally many branches, and the input as many or one."""
    branches = {shape.branches for shape in found[1:]}
    return len(branches) == 1 and found[0].branches in {1, *branches}


def is_input(stage: Stage) -> bool:
    """Return whether a stage only selects nodes of the input."""
    term, *others = stage.terms
    plain = not (others or stage.relu or term.weight is not None or stage.bias is not None)
    return plain and term.source == 0 and isinstance(term.node_map, Select)


def _program(plan: Plan, given: Shape) -> Program:
    found = shapes(plan, given)
    branches = found[-1].branches
    inputs = _inputs(plan, given, branches)
    steps = {n: stage for n, stage in enumerate(plan, start=1) if n not in inputs}
    places = {source: place for place, source in enumerate((*inputs, *steps))}
    is_own = given.branches == branches and list(inputs) == [0]
    return Program(
        branches,
        given.branches * given.nodes,
        () if is_own else tuple(map(tuple, torch.cat(list(inputs.values()), dim=1).tolist())),
        (*(columns.shape[1] for columns in inputs.values()), *(found[n].nodes for n in steps)),
        tuple(tuple(places[term.source] for term in stage.terms) for stage in steps.values()),
        tuple(stage.relu for stage in steps.values()),
    )


def _inputs(plan: Plan, given: Shape, branches: int) -> dict[int, torch.Tensor]:
    """Return the sources of a plan that are inputs, with their columns of a sample."""
    counts = torch.arange(branches, device="cpu").unsqueeze(1)
    starts = counts * given.nodes * (given.branches > 1)
    indices = {
        number: cast("Select", stage.terms[0].node_map).chosen.cpu()
        for number, stage in enumerate(plan, start=1)
        if is_input(stage)
    }
    if any(term.source == 0 for stage in plan if not is_input(stage) for term in stage.terms):
        indices = {0: torch.arange(given.nodes, device="cpu").unsqueeze(0), **indices}
    return {n: (starts + index).where(index >= 0, -1) for n, index in indices.items()}
