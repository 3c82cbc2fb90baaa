"""The CPU engine: plans compiled by numba, forward and backward (extra ``numba``).

A vector register holds one value of several samples. A block of samples runs through all stages
with its intermediates in the cache, so that training steps do not save them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from handgraph.nn.engines.cpu import op
from handgraph.nn.engines.cpu.form import NumbaForm
from handgraph.nn.engines.cpu.refusal import missing, refuses
from handgraph.nn.engines.forms import fixed_shape
from handgraph.nn.plan import Plan, Shape

__all__ = ["offer", "prepare"]


def offer(plan: Plan, x: Tensor) -> str | Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``, or the reason of a refusal."""
    return refuses(x) or op.offer(plan, x)


def prepare(plan: Plan, given: Shape | None) -> NumbaForm | str:
    """Convert a fused plan for inference, or return the reason of a refusal."""
    shape = fixed_shape(plan, given)
    return shape if isinstance(shape, str) else missing() or NumbaForm(plan, shape)
