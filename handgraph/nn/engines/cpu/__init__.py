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
from handgraph.nn.plan import Plan, Shape, tensors

__all__ = ["offer", "prepare"]


def offer(plan: Plan, x: Tensor) -> str | Callable[[], Tensor]:
    """Return a function that runs a plan on ``[N, J, C, B]``, or the reason of a refusal."""
    return refuses(x) or op.offer(plan, x)


def prepare(plan: Plan, given: Shape | None) -> NumbaForm | None:
    """Convert a fused plan for inference, or return ``None`` if it cannot run here."""
    if given is None or missing() or not any(part.is_floating_point() for part in tensors(plan)):
        return None
    return NumbaForm(plan, given)
