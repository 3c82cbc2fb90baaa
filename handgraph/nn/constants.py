"""Constant tensors of modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self


class HasConstants(nn.Module):
    """A module with constants: the indices, masks and fixed matrices of its graph.

    Constants move between devices with the module. Unlike buffers, they are not saved, and
    ``AveragedModel`` with ``use_buffers`` does not average them.
    """

    def register_constants(
        self, device: torch.device | None = None, **constants: Tensor | None
    ) -> None:
        """Set each constant as an attribute, on ``device`` or else on the default device."""
        device = torch.get_default_device() if device is None else device
        self._constants = {**self.__dict__.get("_constants", {}), **constants}
        for name, constant in constants.items():
            setattr(self, name, None if constant is None else constant.to(device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the constants, as called by ``to``, ``half``, ``to_empty`` and others."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, constant in self._constants.items():
            if constant is not None:
                like = fn(getattr(self, name).new_empty(0))
                dtype = like.dtype if constant.is_floating_point() else constant.dtype
                setattr(self, name, constant.to(like.device, dtype))
        return self
