"""Fused plans in the form of the reference engine."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.dense import dense
from handgraph.nn.engines.conditions import is_cast, transformed
from handgraph.nn.engines.forms import Form, PlanBuffers, SavedPlan
from handgraph.nn.engines.reference.run import run_normalized
from handgraph.nn.engines.reference.walk import walk
from handgraph.nn.plan import Plan, Shape, shapes, tensors

DENSE_SIZE = 2**19
"""Largest total number of entries of the dense matrices of a plan."""

DENSE_WORK = 5 * 2**19
"""Largest number of multiplications of a batch per stage, averaged over the stages, for which dense
matrices are used. Beyond it, the longer products cost more than the saved calls."""


class ReferenceForm(Form):
    """A fused plan, and for small batches also its dense matrices if they are small.

    Args:
        plan: The fused plan.
        given: The shape of its input, if it is fixed.
    """

    def __init__(self, plan: Plan, given: Shape | None):
        super().__init__()
        self.saved = SavedPlan(plan)
        self.given = given
        self.dense: PlanBuffers | None = None
        made = self._make_dense(plan)
        if given is not None and made is not None:
            self.dense = PlanBuffers(made)
            self.work = _size(made) / len(plan)
            self.out = shapes(plan, given)[-1]

    def _make_dense(self, plan: Plan) -> Plan | None:
        if self.given is None:
            return None
        try:
            made = dense(plan, self.given)
        except ValueError:
            return None
        return made if _size(made) <= DENSE_SIZE else None

    def refuses(self, x: Tensor) -> None:
        """Return ``None``, as the reference engine runs every plan."""

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        made = self._make_dense(plan)
        if self.dense is not None and made is not None:
            for own, part in zip(self.dense.parts(), PlanBuffers(made).parts(), strict=True):
                own.copy_(part)

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        check_device(x, "the input", next(iter(self.saved.parts()), x))
        if self.dense is None or not self._is_dense(x):
            return run_normalized(self.saved.plan(), x, {})
        out = walk(self.dense.plan(), x.flatten(1, 2), {})
        return out.view(*self.out, x.shape[3])

    def _is_dense(self, x: Tensor) -> bool:
        """Return whether dense matrices are used; compiled programs use them for all batches."""
        if torch.compiler.is_compiling():
            return True
        few = x.shape[3] * self.work <= DENSE_WORK
        return few and transformed(x) is None and not is_cast(x)


def _size(plan: Plan) -> int:
    return sum(part.numel() for part in tensors(plan))
