"""Run the stages of a fused plan in order. Tensors are ``[N, J, S]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from handgraph.nn.engines.reference.batch import Batch
from handgraph.nn.engines.reference.terms import Factors, factors, finish, operand
from handgraph.nn.plan import Plan, Stage


class Step(NamedTuple):
    """The result of a stage. All but the first two fields are for the derivative.

    Args:
        out: The output.
        channels: The channels of the output.
        maps: The maps of each term.
        operands: The operand of the last map of each term.
        branches: The number of branches of the sum of the terms.
        total: The sum of the terms, if the stage has a scale.
        ungated: The output before the gate, if the stage has a gate.
    """

    out: Tensor
    channels: int
    maps: Sequence[Factors] = ()
    operands: Sequence[Tensor] = ()
    branches: int = 1
    total: Tensor | None = None
    ungated: Tensor | None = None


def walk(plan: Plan, x: Tensor, in_place: bool) -> Tensor:
    """Run a fused plan on ``[N, J, C, B]``.

    Args:
        plan: The plan.
        x: Its input.
        in_place: Whether operations may be in place, if no gradients are needed.
    """
    batch = Batch.of(x.shape[3])
    last = {term.source: number for number, stage in enumerate(plan) for term in stage.terms}
    steps = [Step(batch.enter(x), x.shape[2])]
    for number, stage in enumerate(plan):
        out, channels, *_ = run_stage(stage, steps, batch, in_place, keep=False)
        steps.append(Step(out, channels))
        for term in stage.terms:
            if last[term.source] == number:  # free its memory
                steps[term.source] = steps[-1]
    return batch.leave(*steps[-1][:2])


def run_stage(
    stage: Stage, steps: Sequence[Step], batch: Batch, in_place: bool, keep: bool = True
) -> Step:
    """Run a stage on the outputs of the previous stages.

    Args:
        stage: The stage.
        steps: The results of the input and the previous stages.
        batch: The batch.
        in_place: Whether operations may be in place.
        keep: Whether the derivative needs the intermediates.
    """
    terms, bias, relu, scale, gate = stage
    maps = [factors(term) for term in terms]
    given = [steps[term.source] for term in terms]
    weight = terms[0].weight
    channels = given[0].channels if weight is None else weight.shape[1]
    operands = [operand(of, step.out, batch) for of, step in zip(maps, given, strict=True)]
    if bias is not None and scale is None and _takes_bias(maps, operands, bias, batch):
        out, late = batch.mix(operands[0], maps[0].maps[-1][0], bias=bias), None
    else:
        out, late = _add_terms(maps, operands, batch, in_place), bias
    branches = out.shape[0]
    if branches > 1 and bias is not None and bias.shape[0] == 1:
        out = out.sum(0, True)
    new = in_place and out is not operands[0]
    total = None if scale is None else out
    if scale is not None:
        out, new = batch.weigh(out, scale, channels, new and not keep), in_place
    if late is not None:
        out, new = batch.add(out, late, channels, new), in_place
    if relu:
        out, new = out.relu_() if new else out.relu(), in_place
    ungated = None if gate is None else out
    if gate is not None:
        out = batch.weigh(out, gate, channels, new and not keep)
    return Step(out, channels, maps, operands, branches, total, ungated)


def _takes_bias(
    maps: Sequence[Factors], operands: Sequence[Tensor], bias: Tensor, batch: Batch
) -> bool:
    """Return whether the bias can be part of a product, which saves a pass over many samples."""
    if not batch.last or len(maps) > 1 or not maps[0].maps:
        return False
    matrix, over_nodes = maps[0].maps[-1]
    return not over_nodes and bias.shape[0] == matrix.shape[0] == operands[0].shape[0]


def _add_terms(
    maps: Sequence[Factors], operands: Sequence[Tensor], batch: Batch, in_place: bool
) -> Tensor:
    """Return the sum of the terms."""
    out = finish(maps[0], operands[0], batch, None, in_place)
    for of, x in zip(maps[1:], operands[1:], strict=True):
        out = finish(of, x, batch, out, in_place and out is not operands[0])
    return out
