"""The CPU engine: plans compiled by numba, forward and backward (extra ``numba``).

Samples lie side by side in the vector registers, and a block of them goes through all stages while
its intermediates stay in the cache; so a training step keeps none of them.
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
    """What runs a plan on ``[N, J, C, B]``, or why it cannot be run."""
    return refuses(x) or op.offer(plan, x)


def prepare(plan: Plan, given: Shape | None) -> NumbaForm | None:
    """Keep a fused plan for inference, unless it cannot be run here."""
    if given is None or missing() or not any(part.is_floating_point() for part in tensors(plan)):
        return None
    return NumbaForm(plan, given)
