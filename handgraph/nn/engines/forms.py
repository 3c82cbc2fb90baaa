"""Fused plans for inference, in the forms of the engines."""

from __future__ import annotations

import json
from typing import cast

import torch
from torch import Tensor, nn

from handgraph.nn.constants import HasConstants
from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.made_for import MadeFor
from handgraph.nn.plan import Plan, Shape, tensors


class PlanBuffers(HasConstants):
    """A plan whose tensors are copies, as buffers, or as constants if they are indices.

    Args:
        plan: The plan.
        persistent: Whether the buffers are part of the state dict.
    """

    def __init__(self, plan: Plan, persistent: bool = False):
        super().__init__()
        self.code, parts = outline(plan)
        self.register_constants()
        self.names = [f"tensor_{number}" for number in range(len(parts))]
        for name, part in zip(self.names, parts, strict=True):
            copied = part.detach().clone(memory_format=torch.contiguous_format)
            if copied.is_floating_point():
                self.register_buffer(name, copied, persistent=persistent)
            else:
                self.register_constants(copied.device, **{name: copied})

    def parts(self) -> list[Tensor]:
        """Return the tensors."""
        found, rest = self._buffers, self.__dict__
        return cast("list[Tensor]", [found.get(n) if n in found else rest[n] for n in self.names])

    def plan(self) -> Plan:
        """Return the plan with the copies as its tensors."""
        return restore(self.code, self.parts())


class SavedPlan(PlanBuffers, MadeFor):
    """A plan whose tensors, and the nodes that it selects, are part of the state dict.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan):
        super().__init__(plan, persistent=True)

    def made_for(self) -> str:
        """Return the nodes that the plan selects, as JSON."""
        selected = [part.tolist() for part in self.parts() if not part.is_floating_point()]
        return json.dumps({"selected": selected})


class Form(nn.Module):
    """A plan in the format of one engine."""

    def refuses(self, x: Tensor) -> str | None:
        """Return why the engine refuses an input ``[N, J, C, B]``, or ``None``."""
        raise NotImplementedError

    def update(self, plan: Plan) -> None:
        """Copy the values of another plan with the same structure."""
        raise NotImplementedError

    def run(self, x: Tensor) -> Tensor:
        """Run the plan on ``[N, J, C, B]``."""
        raise NotImplementedError


def fixed_shape(plan: Plan, given: Shape | None) -> Shape | str:
    """Return the shape of the input, or why the plan has no form for compiled code."""
    if given is None:
        return "the plan takes inputs of several shapes"
    has_numbers = any(part.is_floating_point() for part in tensors(plan))
    return given if has_numbers else "the plan contains no numbers"


class NoForm(Form):
    """A plan that an engine refuses for all inputs.

    Args:
        reason: The reason.
    """

    def __init__(self, reason: str):
        super().__init__()
        self.reason = reason

    def refuses(self, x: Tensor) -> str:
        """Return the reason."""
        return self.reason

    def update(self, plan: Plan) -> None:
        """Do nothing."""
