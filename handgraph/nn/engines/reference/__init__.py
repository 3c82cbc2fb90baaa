"""The reference engine: any plan by operations of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from handgraph.nn.engines.reference.form import ReferenceForm
from handgraph.nn.engines.reference.run import run
from handgraph.nn.plan import Plan, Shape

__all__ = ["offer", "prepare", "run"]


def offer(plan: Plan, x: Tensor) -> Callable[[], Tensor]:
    """What runs a plan on ``[N, J, C, B]``."""
    return partial(run, plan, x)


def prepare(plan: Plan, given: Shape | None) -> ReferenceForm:
    """Keep a fused plan for inference."""
    return ReferenceForm(plan, given)
