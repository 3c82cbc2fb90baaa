"""Fused plans in the form of the reference engine."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_device
from handgraph.nn.dense import dense
from handgraph.nn.engines.kept import Form, KeptPlan
from handgraph.nn.engines.looking import is_cast, transformed
from handgraph.nn.engines.reference.dense import DenseStages
from handgraph.nn.engines.reference.run import run_fused
from handgraph.nn.plan import Plan, Shape, shapes, tensors

DENSE_SIZE = 2**19
"""Largest total number of entries of the dense matrices of a plan."""

DENSE_WORK = 5 * 2**19
"""Largest number of multiplications of a batch per stage, averaged over the stages, for which dense
matrices are used. Beyond it, the longer products cost more than the saved calls."""


class ReferenceForm(Form):
    """A fused plan, with additional dense matrices if they are small.

    Args:
        plan: The fused plan.
        given: The shape of its input, if it is fixed.
    """

    def __init__(self, plan: Plan, given: Shape | None):
        super().__init__()
        self.kept = KeptPlan(plan)
        self.given = given
        self.dense: DenseStages | None = None
        made = self._make_dense(plan)
        if given is not None and made is not None:
            rows = Shape(given.branches, given.nodes * given.channels, 1)
            self.dense = DenseStages(made, rows)
            self.work = self.dense.size / len(plan)
            self.out = shapes(plan, given)[-1][1:]

    def _make_dense(self, plan: Plan) -> Plan | None:
        if self.given is None:
            return None
        try:
            made = dense(plan, self.given)
        except ValueError:
            return None
        return made if sum(part.numel() for part in tensors(made)) <= DENSE_SIZE else None

    def refuses(self, x: Tensor) -> None:
        """Return ``None``, as the reference engine runs every plan."""

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        made = self._make_dense(plan)
        if self.dense is not None and made is not None:
            self.dense.update(made)

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        check_device(x, "the input", next(iter(self.kept.parts()), x))
        if self.dense is None or not self._is_dense(x):
            return run_fused(self.kept.plan(), x)
        rows = x.permute(0, 3, 1, 2)
        rows = rows.reshape(*rows.shape[:2], rows.shape[2] * rows.shape[3])
        out: Tensor = self.dense(rows)
        nodes, channels = self.out
        return out.view(*out.shape[:2], nodes, channels).permute(0, 2, 3, 1)

    def _is_dense(self, x: Tensor) -> bool:
        """Return whether dense matrices are used; compiled programs use them for all batches."""
        if self.dense is None or torch.compiler.is_compiling():
            return self.dense is not None
        few = x.shape[3] * self.work <= DENSE_WORK
        return few and transformed(x) is None and not is_cast(x)
