"""The reference engine: runs any plan with PyTorch operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from handgraph.nn.engines.reference.form import ReferenceForm
from handgraph.nn.engines.reference.run import run
from handgraph.nn.plan import Plan, Shape

__all__ = ["offer", "prepare", "run"]


def offer(plan: Plan, x: Tensor) -> Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``."""
    return partial(run, plan, x)


def prepare(plan: Plan, given: Shape | None) -> ReferenceForm:
    """Convert a fused plan for inference."""
    return ReferenceForm(plan, given)
