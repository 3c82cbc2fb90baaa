"""A plan that is kept for inference, ready for an engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.plan import Plan


class KeptPlan(nn.Module):
    """The tensors of a plan as buffers.

    Args:
        plan: The plan; its tensors are copied.
        persistent: Whether the buffers belong to the state dict.
    """

    def __init__(self, plan: Plan, persistent: bool = True):
        super().__init__()
        self.code, parts = outline(plan)
        for number, part in enumerate(parts):
            kept = part.detach().clone(memory_format=torch.contiguous_format)
            self.register_buffer(f"tensor_{number}", kept, persistent=persistent)

    def plan(self) -> Plan:
        """The plan, over the buffers."""
        return restore(self.code, list(self.buffers()))


class Form(nn.Module):
    """A plan in the form that one engine reads."""

    def refuses(self, x: Tensor) -> str | None:
        """Why the engine does not run it on an input ``[N, J, C, B]``; ``None`` if it does."""
        raise NotImplementedError

    def update(self, plan: Plan) -> None:
        """Take the numbers of another plan of this structure."""
        raise NotImplementedError

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        raise NotImplementedError
