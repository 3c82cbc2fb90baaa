"""Buffers that follow from a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def register_constants(module: nn.Module, **constants: Tensor | None) -> None:
    """Register buffers that are not saved, on the device where parameters are made."""
    device = torch.get_default_device()
    for name, constant in constants.items():
        buffer = None if constant is None else constant.to(device)
        module.register_buffer(name, buffer, persistent=False)
