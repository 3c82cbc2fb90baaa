"""The Triton engine: a plan as one CUDA kernel over dense matrices.

One kernel runs all stages for a block of samples. A second one runs their derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from handgraph.nn.engines.cuda.op import chain
from handgraph.nn.engines.cuda.program import Program, lower
from handgraph.nn.engines.cuda.refusal import refuses_here, refuses_input, refuses_plan
from handgraph.nn.engines.cuda.table import pack
from handgraph.nn.engines.forms import Form
from handgraph.nn.fuse import fuse
from handgraph.nn.plan import Plan, Shape, shapes, tensors

__all__ = ["TritonForm", "offer", "prepare"]


def offer(plan: Plan, x: Tensor) -> str | Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``, or the reason of a refusal."""
    if refused := refuses_input(x, tensors(plan)):
        return refused
    plan, given = fuse(plan), Shape(*x.shape[:3])
    return refuses_plan(plan, given) or partial(_run_plan, plan, given, x)


def prepare(plan: Plan, given: Shape | None) -> TritonForm | None:
    """Convert a fused plan for inference, or return ``None`` if it cannot run here."""
    is_float = any(part.is_floating_point() for part in tensors(plan))
    if given is None or not is_float or refuses_here() or refuses_plan(plan, given):
        return None
    return TritonForm(plan, given)


class TritonForm(Form):
    """The table of a plan for inputs of one shape. Gradients reach the input."""

    table: Tensor

    def __init__(self, plan: Plan, given: Shape):
        super().__init__()
        self.given = given
        self.register_buffer("table", self._lower(plan), persistent=False)

    def _lower(self, plan: Plan) -> Tensor:
        lowered, self.program = lower(plan, self.given)
        self.out = shapes(plan, self.given)[-1]
        return pack(lowered, self.program).detach()

    def refuses(self, x: Tensor) -> str | None:
        """Return why the engine refuses an input, or ``None``."""
        return refuses_input(x, [self.table])

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        self.table.copy_(self._lower(plan))

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        return _run(self.table, self.program, self.out, x)


def _run_plan(plan: Plan, given: Shape, x: Tensor) -> Tensor:
    lowered, program = lower(plan, given)
    return _run(pack(lowered, program), program, shapes(plan, given)[-1], x)


def _run(table: Tensor, program: Program, out: Shape, x: Tensor) -> Tensor:
    rows = chain(x.permute(3, 0, 1, 2).flatten(1), table, program)
    return rows.view(-1, *out).permute(1, 2, 3, 0)
