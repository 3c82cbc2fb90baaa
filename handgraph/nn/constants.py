"""Tensors that follow from a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self


class HasConstants(nn.Module):
    """A module with constants: indices, masks and fixed matrices that follow from its graph.

    Constants move to other devices with the module, but they are not buffers: they are not saved,
    and averages over training (``AveragedModel`` with ``use_buffers``) leave them alone.
    """

    def register_constants(
        self, device: torch.device | None = None, **constants: Tensor | None
    ) -> None:
        """Make each an attribute, on a device; by default where parameters are made."""
        device = torch.get_default_device() if device is None else device
        self._constants = {**self.__dict__.get("_constants", {}), **constants}
        for name, constant in constants.items():
            setattr(self, name, None if constant is None else constant.to(device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the constants; ``to``, ``half``, ``to_empty`` and others call this."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, constant in self._constants.items():
            if constant is not None:
                like = fn(getattr(self, name).new_empty(0))
                dtype = like.dtype if constant.is_floating_point() else constant.dtype
                setattr(self, name, constant.to(like.device, dtype))
        return self
