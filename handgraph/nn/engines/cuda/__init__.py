"""The Triton engine: a plan as one CUDA kernel over dense matrices.

One launch runs all stages, and a second one their derivatives.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import pad

from handgraph.nn.constants import HasConstants
from handgraph.nn.engines.cuda.launch import chain
from handgraph.nn.engines.cuda.lower import lower
from handgraph.nn.engines.cuda.program import Program
from handgraph.nn.engines.cuda.refusal import refuses_here, refuses_input, refuses_plan
from handgraph.nn.engines.forms import Form, fixed_shape
from handgraph.nn.fuse import fuse
from handgraph.nn.plan import Plan, Shape, tensors

__all__ = ["TritonForm", "offer", "prepare"]


def offer(plan: Plan, x: Tensor) -> str | Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``, or the reason of a refusal."""
    if refused := refuses_input(x, tensors(plan)):
        return refused
    plan, given = fuse(plan), Shape(*x.shape[:3])
    return refuses_plan(plan, given) or (lambda: run(x, *lower(plan, given)))


def prepare(plan: Plan, given: Shape | None) -> TritonForm | str:
    """Convert a fused plan for inference, or return the reason of a refusal."""
    shape = fixed_shape(plan, given)
    if isinstance(shape, str):
        return shape
    return refuses_here() or refuses_plan(plan, shape) or TritonForm(plan, shape)


class TritonForm(Form, HasConstants):
    """The table of a plan for inputs of one shape. Gradients reach the input."""

    table: Tensor
    columns: Tensor | None

    def __init__(self, plan: Plan, given: Shape):
        super().__init__()
        self.given = given
        self.program, table, columns = lower(plan, given)
        self.register_buffer("table", table.detach(), persistent=False)
        self.register_constants(table.device, columns=columns)

    def refuses(self, x: Tensor) -> str | None:
        """Return why the engine refuses an input, or ``None``."""
        return refuses_input(x, [self.table])

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        self.table.copy_(lower(plan, self.given)[1])

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        return run(x, self.program, self.table, self.columns)


def run(x: Tensor, program: Program, table: Tensor, columns: Tensor | None) -> Tensor:
    """Run a lowered plan on ``[N, J, C, B]``."""
    rows = x.permute(3, 0, 1, 2).flatten(1)
    if columns is not None:
        rows = pad(rows, (0, 1)).index_select(1, columns)
    out = chain(rows.unflatten(1, (program.out.branches, -1)), table, program)
    return out.view(-1, *program.out).permute(1, 2, 3, 0)
