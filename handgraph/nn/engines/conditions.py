"""Conditions under which a module runs its ``forward`` instead of its plan."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

CONTAINERS = frozenset({nn.ModuleList, nn.ParameterList, nn.ModuleDict, nn.ParameterDict})
PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


def needs_forward(module: nn.Module, x: Tensor) -> str | None:
    """Return why the ``forward`` of a module must run on this input, or ``None``."""
    if _has_any_global_hook():
        return "global module hooks exist"
    return traced() or transformed(x) or changed(module)


def traced() -> str | None:
    """Return what traces operations, or ``None``."""
    if torch.compiler.is_compiling():
        return "torch.compile or torch.export traces it"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit traces it"
    return None


def observed() -> str | None:
    """Return what observes operators, or ``None``. Compiled code would hide them."""
    if torch._C._len_torch_dispatch_stack() > 0:
        return "a dispatch mode, such as a FLOP counter, observes operators"
    return None


def transformed(x: Tensor) -> str | None:
    """Return why an input is not a plain tensor, or ``None``."""
    if type(x) not in PLAIN:
        return f"the input is a {type(x).__name__}"
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms it"
    if forward_ad._current_level >= 0:
        return "forward-mode derivatives are active"
    return None


def changed(module: nn.Module) -> str | None:
    """Return why a module may differ from its class, or has hooks; else ``None``.

    Its class must itself define both ``forward`` and ``lower``. A subclass that changes one of
    them, or a method that they call, runs its ``forward``. ``reads`` lists the classes of children
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
                if why := hooked(child):
                    return f"{path}{name} {why}"
            elif type(child) not in CONTAINERS:
                return f"{path}{name} is a {type(child).__name__}"
            rest.append((f"{path}{name}.", child))
    return None


def hooked(module: nn.Module) -> str | None:
    """Return which hooks or replaced ``forward`` a module itself has, or ``None``."""
    state = module.__dict__
    if state["_forward_hooks"] or state["_forward_pre_hooks"]:
        return "has hooks"
    if state["_backward_hooks"] or state["_backward_pre_hooks"]:
        return "has backward hooks"
    return "has a replaced forward" if "forward" in state else None


def is_cast(x: Tensor) -> bool:
    """Return whether autocast is on for the device of a tensor; never for the meta device."""
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def watched(x: Tensor) -> str | None:
    """Return what must see or change the operations on a tensor, or ``None``."""
    return "autocast is on" if is_cast(x) else traced() or observed() or transformed(x)
