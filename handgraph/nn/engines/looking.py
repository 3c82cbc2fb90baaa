"""Whether somebody looks inside of a module, or has changed it: then its readable form runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

CONTAINERS = frozenset({nn.ModuleList, nn.ParameterList, nn.ModuleDict, nn.ParameterDict})
PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


def looked_at(module: nn.Module, x: Tensor) -> str | None:
    """Why the readable form of a module must run on this input; ``None`` if it need not."""
    if _has_any_global_hook():
        return "there are hooks on all modules"
    return traced() or transformed(x) or changed(module)


def traced() -> str | None:
    """Whether operations are recorded, and not only run."""
    if torch.compiler.is_compiling():
        return "torch.compile or torch.export traces it"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit traces it"
    return None


def transformed(x: Tensor) -> str | None:
    """Whether an input is more than numbers."""
    if type(x) not in PLAIN:
        return f"the input is a {type(x).__name__}"
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms it"
    if forward_ad._current_level >= 0:
        return "forward-mode derivatives are wanted"
    return None


def changed(module: nn.Module) -> str | None:
    """Whether a module may do something else than its class, or is watched.

    Its class must itself define both ``forward`` and ``lower``: a subclass that changes one of
    them, or what they call, gets the readable form. Of its children, ``reads`` lists the classes
    that ``lower`` reads.
    """
    kind = type(module)
    if "forward" not in kind.__dict__ or "lower" not in kind.__dict__:
        return f"{kind.__name__} does not define both forward and lower"
    reads = getattr(kind, "reads", ())
    rest: list[tuple[str, Any]] = [("", module)]
    while rest:
        path, parent = rest.pop()
        for name, parameter in parent._parameters.items():
            if type(parameter) not in PLAIN:
                return f"{path}{name} is a {type(parameter).__name__}"
        for name, child in parent._modules.items():
            if type(child) in reads:
                if why := _watched(child.__dict__):
                    return f"{path}{name} {why}"
            elif type(child) not in CONTAINERS:
                return f"{path}{name} is a {type(child).__name__}"
            rest.append((f"{path}{name}.", child))
    return None


def _watched(state: dict[str, Any]) -> str | None:
    if state["_forward_hooks"] or state["_forward_pre_hooks"]:
        return "has hooks"
    if state["_backward_hooks"] or state["_backward_pre_hooks"]:
        return "has backward hooks"
    return "has another forward" if "forward" in state else None


def is_cast(x: Tensor) -> bool:
    """Whether autocast is on for the device of a tensor; the meta device has none."""
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)
