"""Samples as the last dimension: the layout in which plans run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def samples_last(x: Tensor, dims: int) -> Tensor:
    """Rearrange ``[*, ...]`` to ``[..., B]``, as a view if possible; keep ``dims`` dimensions."""
    lead = x.shape[: x.dim() - dims]
    if len(lead) != 1:
        x = x.reshape(math.prod(lead), *x.shape[x.dim() - dims :])
    return x.movedim(0, -1)


def samples_first(x: Tensor, lead: Sequence[int]) -> Tensor:
    """Rearrange ``[..., B]`` to ``[*, ...]`` with the leading dimensions ``lead``."""
    x = x.movedim(-1, 0)
    return x if len(lead) == 1 else x.reshape(*lead, *x.shape[1:])
