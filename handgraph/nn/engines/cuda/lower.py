"""Convert a plan to the format of the kernel: its structure, its values and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.dense import dense
from handgraph.nn.engines.cuda.program import Program, Step
from handgraph.nn.fuse import branches
from handgraph.nn.plan import Plan, Select, Shape, Stage, shapes, tensors
from handgraph.nn.unroll import unroll

TILE = 64
"""Rows and columns of the parts of matrices."""


def lower(plan: Plan, given: Shape, tile: int = TILE) -> tuple[Program, Tensor, Tensor | None]:
    """Make a plan dense, and unroll it if the number of branches changes within it.

    Returns:
        Its structure, the table of its values ``[N, T]``, and the columns of a sample, followed by
        a zero, that form the inputs of all branches. They are ``None`` if each branch reads its own
        part of the sample.
    """
    out = shapes(plan, given)[-1]
    plan, given = dense(plan, given), Shape(given.branches, given.nodes * given.channels, 1)
    if not is_uniform(plan, given):
        plan, given = unroll(plan, given), Shape(1, given.branches * given.nodes, 1)
    inputs = _inputs(plan, given)
    stages = {n: stage for n, stage in enumerate(plan, start=1) if n not in inputs}
    places = {source: place for place, source in enumerate((*inputs, *stages))}
    widths = [shape.nodes for shape in shapes(plan, given)]
    steps = [Step(widths[n]) for n in inputs]
    for n, (terms, _, relu) in stages.items():
        steps.append(Step(widths[n], tuple(places[term.source] for term in terms), relu))
    program = Program(out, tuple(steps), tile)
    return program, _pack(tuple(stages.values()), program), _columns(inputs, given, program)


def is_uniform(plan: Plan, given: Shape) -> bool:
    """Return whether all stages have equally many branches, and what they read as many or one."""
    read, *found = (shape.branches for shape in shapes(plan, given))
    return {read, *found, *(branches(stage.terms) for stage in plan)} <= {1, min(found)}


def is_input(stage: Stage) -> bool:
    """Return whether a stage only selects nodes of the input."""
    term, *others = stage.terms
    plain = not (others or stage.relu or term.weight is not None or stage.bias is not None)
    return plain and term.source == 0 and isinstance(term.node_map, Select)


def _inputs(plan: Plan, given: Shape) -> dict[int, Tensor]:
    """Return the sources of a dense plan that are inputs, with the columns that they select."""
    selects = {n: stage.terms[0].node_map for n, stage in enumerate(plan, 1) if is_input(stage)}
    inputs = {n: cast("Select", one).chosen for n, one in selects.items()}
    if any(term.source == 0 for stage in plan if not is_input(stage) for term in stage.terms):
        columns = torch.arange(given.nodes, device=tensors(plan)[0].device)
        inputs = {0: columns.unsqueeze(0), **inputs}
    return inputs


def _columns(inputs: Mapping[int, Tensor], given: Shape, program: Program) -> Tensor | None:
    count, size = program.out.branches, given.branches * given.nodes
    if list(inputs) == [0] and given.branches == count:
        return None
    device = next(iter(inputs.values())).device
    starts = torch.arange(0, size, given.nodes, device=device).unsqueeze(1)
    rows = [(starts + one).where(one >= 0, size).expand(count, -1) for one in inputs.values()]
    padded = [pad(row, (0, -row.shape[1] % program.tile), value=size) for row in rows]
    return torch.cat(padded, dim=1).flatten()


def _pack(plan: Plan, program: Program) -> Tensor:
    """Return the table of the stages that are steps. Differentiable.

    For each tile of each stage and each term, the table contains all parts of the matrix for that
    tile. The biases follow after all parts. Parts and biases are zero-padded to whole tiles.
    """
    like, tile, count = tensors(plan)[0], program.tile, program.out.branches
    steps = (step for step in program.steps if step.reads)
    parts, biases = [], []
    for (terms, bias, _), (width, *_) in zip(plan, steps, strict=True):
        same, none = like.new_ones(width).diag().unsqueeze(0), like.new_zeros(1, width, 1)
        maps = [term.node_map[0] if term.node_map else same for term in terms]
        whole = [pad(one, (0, -one.shape[2] % tile)).expand(count, -1, -1) for one in maps]
        rows = pad(torch.cat(whole, dim=2), (0, 0, 0, -width % tile)).unflatten(1, (-1, tile))
        parts.append(rows.unflatten(3, (-1, tile)).transpose(2, 3).flatten(1))
        column = (none if bias is None else bias).flatten(1)
        biases.append(pad(column, (0, -width % tile)).expand(count, -1))
    return torch.cat([*parts, *biases], dim=1)
