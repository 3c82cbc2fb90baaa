"""Fused plans in the form of the numba engine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from handgraph.nn.engines.cpu import call
from handgraph.nn.engines.cpu.refusal import refuses
from handgraph.nn.engines.cpu.writer import Writer
from handgraph.nn.engines.forms import Form
from handgraph.nn.plan import Plan, Shape, Stage, shapes, tensors
from handgraph.nn.unroll import unroll


class NumbaForm(Form):
    """The packed tensors of a fused plan, and its program.

    Args:
        plan: The fused plan.
        given: The shape of its input.
    """

    packed: Tensor

    def __init__(self, plan: Plan, given: Shape):
        super().__init__()
        self.given, self.out = given, shapes(plan, given)[-1]
        self.register_buffer("packed", self._write(plan), persistent=False)

    def _write(self, plan: Plan) -> Tensor:
        """Write the program, and pack the tensors."""
        plan, self.read = _uniform(plan, self.given)
        parts = [part for part in tensors(plan) if part.is_floating_point()]
        self.program = Writer(plan, parts, shapes(plan, self.read), reused=True).program()
        self.offsets = np.cumsum([0, 0, *(part.numel() for part in parts[:-1])])
        return torch.cat([part.detach().flatten() for part in parts])

    def refuses(self, x: Tensor) -> str | None:
        """Return why the engine refuses an input ``[N, J, C, B]``, or ``None``."""
        if x.requires_grad and torch.is_grad_enabled():
            return "the input of a folded net needs a gradient"
        return refuses(x)

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        self.packed.copy_(self._write(plan))

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        packed = self.packed
        call.check(x, [packed])
        if x.shape[0] != self.read.branches:
            x = x.reshape(*self.read, x.shape[3])
        slots = self.program.found.copy()
        slots[:, 0] = self.offsets * packed.element_size() + packed.data_ptr()
        out = call.forward(self.program, x, slots)
        return out if out.shape[0] == self.out.branches else out.reshape(*self.out, x.shape[3])


def _uniform(plan: Plan, given: Shape) -> tuple[Plan, Shape]:
    """Return the plan with equally many branches in all stages, and the shape of its input."""
    found = shapes(plan, given)
    if any(shape.branches != given.branches for shape in found):
        read = Shape(1, given.branches * given.nodes, given.channels)
        plan, given, found = unroll(plan, given), read, shapes(unroll(plan, given), read)
    stages = zip(plan, found[1:], strict=True)
    return tuple(_with_whole_bias(stage, shape) for stage, shape in stages), given


def _with_whole_bias(stage: Stage, shape: Shape) -> Stage:
    if stage.bias is None or stage.bias.shape[-1] == shape.channels:
        return stage
    return stage._replace(bias=stage.bias.expand(-1, -1, shape.channels))
