"""Any plan as one autograd function with an explicit derivative.

If autograd differentiates each operation, the overhead of views and sums around small products
dominates a training step. Second derivatives use autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.engines.reference.batch import Batch
from handgraph.nn.engines.reference.fused import pull_fuse
from handgraph.nn.engines.reference.terms import Gradients, pull, pull_first
from handgraph.nn.engines.reference.walk import Step, run_stage, walk
from handgraph.nn.fuse import Fusion, fuse
from handgraph.nn.plan import Plan, Stage, tensors


def each_once(plan: Plan) -> list[Tensor]:
    """Return the distinct tensors of a plan."""
    return list({id(part): part for part in tensors(plan)}.values())


class Run(Function):
    """Run a plan. Its distinct tensors are also arguments, so that autograd tracks them."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, *parts: Tensor) -> Tensor:  # noqa: ANN401
        """Fuse and run the plan, and save the tensors for the derivative."""
        fusion = Fusion()
        fused, batch = fusion.fuse(plan), Batch.of(x.shape[3])
        steps = [Step(batch.enter(x), x.shape[2])]
        for stage in fused:
            steps.append(run_stage(stage, steps, batch, in_place=True))
        ctx.plan, ctx.fusion, ctx.fused, ctx.batch = plan, fusion, fused, batch
        ctx.steps = [(step.channels, step.maps, step.branches) for step in steps]
        saved = [t for step in steps for t in (step.out, step.total, step.ungated, *step.operands)]
        ctx.save_for_backward(x, *parts, *saved)
        return batch.leave(*steps[-1][:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients of the input and of the tensors."""
        needed = ctx.needs_input_grad[1:]
        saved = ctx.saved_tensors
        inputs, rest = saved[: len(needed)], iter(saved[len(needed) :])
        if torch.is_grad_enabled() or torch._C._functorch.is_legacy_batchedtensor(grad):
            return None, *differentiate(ctx.plan, each_once(ctx.plan), inputs, needed, grad)
        steps = []
        for channels, maps, branches in ctx.steps:
            out, total, ungated = next(rest), next(rest), next(rest)
            operands = [next(rest) for _ in maps]
            steps.append(Step(out, channels, maps, operands, branches, total, ungated))
        found, back = _gradients(ctx.fused, steps, ctx.batch, needed[0], grad)
        pull_fuse(ctx.plan, ctx.fusion, ctx.fused, found)
        return None, back, *[found.get(id(part)) for part in each_once(ctx.plan)]


def _gradients(
    plan: Plan, steps: Sequence[Step], batch: Batch, with_x: bool, grad: Tensor
) -> tuple[Gradients, Tensor | None]:
    """Return the gradients of the tensors of a fused plan, and of its input."""
    found = Gradients()
    backs: list[Tensor | None] = [*[None] * len(plan), batch.enter(grad)]
    for number in range(len(plan), 0, -1):
        stage, step, back = plan[number - 1], steps[number], backs[number]
        if back is None:
            continue
        back = _pull_end(stage, step, back, batch, found, in_place=number < len(plan))
        if step.branches > back.shape[0]:
            back = back.expand(step.branches, -1, -1)
        for term, of, last in zip(stage.terms, step.maps, step.operands, strict=True):
            source, x = term.source, steps[term.source].out
            first = pull(of, x, last, back, batch, found)
            if source > 0 or with_x:
                backs[source] = pull_first(of, x, first, batch, backs[source])
    return found, None if backs[0] is None else batch.leave(backs[0], steps[0].channels)


def _pull_end(
    stage: Stage, step: Step, grad: Tensor, batch: Batch, found: Gradients, in_place: bool
) -> Tensor:
    """Add the gradients of gate, bias and scale, and return that of the sum of the terms."""
    _, bias, relu, scale, gate = stage
    channels = step.channels
    if gate is not None:
        if gate.requires_grad and step.ungated is not None:
            found.add(gate, batch.sum_channels(grad * step.ungated, channels))
        grad, in_place = batch.weigh(grad, gate, channels), True
    if relu:
        grad = _pull_relu(grad, step.out if step.ungated is None else step.ungated, in_place)
    if bias is not None:
        found.add(bias, batch.sum_samples(grad, channels).sum_to_size(bias.shape))
    if scale is not None:
        if scale.requires_grad and step.total is not None:
            found.add(scale, batch.sum_channels(grad * step.total, channels))
        grad = batch.weigh(grad, scale, channels)
    return grad


def _pull_relu(grad: Tensor, out: Tensor, in_place: bool) -> Tensor:
    backward = torch.ops.aten.threshold_backward
    found: Tensor = (
        backward.grad_input(grad, out, 0, grad_input=grad)
        if in_place
        else backward.default(grad, out, 0)
    )
    return found


@torch.enable_grad()
def differentiate(
    plan: Plan,
    parts: Sequence[Tensor],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    grad: Tensor,
) -> list[Tensor | None]:
    """Compute the needed gradients by operations that can be differentiated and batched.

    Args:
        plan: The plan.
        parts: Its tensors.
        inputs: The input of the plan, and the values of these tensors.
        needed: Whether each of ``inputs`` needs a gradient.
        grad: The gradient of the output.
    """
    # a tensor may depend on another one, as a scale on an adjacency; their views do not
    x, *views = [tensor.view_as(tensor) for tensor in inputs]
    swap = dict(zip(map(id, parts), views, strict=True))
    code, found_parts = outline(plan)
    out = walk(fuse(restore(code, [swap[id(p)] for p in found_parts])), x, in_place=False)
    wanted = [view for view, need in zip((x, *views), needed, strict=True) if need]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]
