"""Extra entries of samples, such as file names, subject numbers and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph.datasets.entries import CHANNELS, MASKS, Values, as_tensor

Extra = Tensor | list[str]
"""A tensor with first dimension n, or n strings."""

_TAKEN = (*CHANNELS, *MASKS, "K", "s", "d", "uv_true", "x", "edge_index", "num_nodes", "ptr")


def check_extra(
    extra: Mapping[str, Values | Sequence[str]], num_samples: int, source: str
) -> dict[str, Extra]:
    """Return each entry as a tensor or a list of strings, one for each sample."""
    return {name: _checked(name, values, num_samples, source) for name, values in extra.items()}


def take(values: Extra, i: int) -> Tensor | str:
    """Return the entry of a sample; tensors keep a first dimension for batching."""
    return values[i : i + 1] if isinstance(values, Tensor) else values[i]


def pick(values: Extra | str, index: Sequence[int] | None) -> Extra:
    """Return the entries of some or all samples; PyG stores that of one sample without a list."""
    values = [values] if isinstance(values, str) else values
    if index is None:
        return values
    if isinstance(values, Tensor):
        return values[torch.tensor(index, dtype=torch.long, device="cpu")]
    return [values[i] for i in index]


def _checked(name: str, values: Values | Sequence[str], num_samples: int, source: str) -> Extra:
    if name in _TAKEN or callable(getattr(Data, name, None)):
        raise ValueError(f"{source}: extra {name!r}: a Data has this name already")
    if "index" in name or "batch" in name or name == "face":
        raise ValueError(
            f"{source}: extra {name!r}: PyG offsets entries with index, batch or face in their "
            "names when it makes batches: expected another name"
        )
    texts = _texts(values, f"{source}: extra {name}")
    entry = as_tensor(values, f"extra {name}", source) if texts is None else texts
    length = len(entry) if isinstance(entry, list) or entry.ndim else 0
    if length != num_samples:
        raise ValueError(f"{source}: expected {num_samples} entries of {name}, got {length}")
    return entry


def _texts(values: object, what: str) -> list[str] | None:
    """Return a list of strings, or ``None`` if ``values`` is not a list of strings."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "U" and values.ndim == 1:
        return [str(text) for text in values]
    if not isinstance(values, list | tuple):
        return None
    for text in values:
        if not isinstance(text, str):
            raise TypeError(f"{what}: expected strings, a tensor or an array, got {text!r}")
    return [str(text) for text in values]
