"""Reasons for which the numba engine refuses a plan."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from handgraph.nn.engines.conditions import watched

DTYPES = (torch.float32, torch.float64)


def refuses(x: Tensor) -> str | None:
    """Return why the engine refuses an input, or ``None``."""
    if x.dtype not in DTYPES:
        return f"the input is {x.dtype}"
    if not x.is_cpu:
        return f"the input is on {x.device}"
    return watched(x) or missing()


@cache
def missing() -> str | None:
    """Return why numba cannot be used; warn if it is installed but cannot be imported."""
    if find_spec("numba") is None:
        return "numba is not installed"
    try:
        config = import_module("numba").config
    except Exception as error:  # anything: an unknown NumPy, a broken LLVM
        warnings.warn(f"handgraph continues without numba: {error}", stacklevel=2)
        return f"numba cannot be imported: {error}"
    return "NUMBA_DISABLE_JIT is set" if config.DISABLE_JIT else None
