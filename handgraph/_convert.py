"""Conversion of arrays and lists to tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def to_tensor(values: Tensor | ArrayLike, name: str) -> Tensor:
    """Return a tensor unchanged, or copy an array or a list into a tensor.

    PyTorch refuses arrays with negative strides or of another byte order, and warns about read-only
    ones; a copy has none of these. Masked entries become NaN. A list of floats becomes float64.

    Raises:
        TypeError: If the values are not real numbers.
    """
    if isinstance(values, Tensor):
        return values
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "biuf":
        values = np.ma.filled(values.astype(np.result_type(values, np.float32)), np.nan)
    known = isinstance(values, list | tuple | int | float) or hasattr(values, "__array__")
    array = np.array(values if known else None)
    if array.dtype.kind not in "biuf":
        got = array.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(
            f"expected {name} as a tensor, an array or a list of real numbers, got {got}"
        )
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=False))
