"""Whether a net takes the kernel, and how it does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from handgraph.nn.mixing import is_plain, is_transformed

HAS_TRITON = find_spec("triton") is not None
HAS_NUMBA = find_spec("numba") is not None
DEVICES = ("cuda",)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MIN_CAPABILITY = 8
"""Triton wants an NVIDIA GPU of this compute capability or later: Ampere. AMD's are left out."""

_enabled = False  # they have not yet run on a GPU
_compiled = True


@contextmanager
def enabled() -> Iterator[None]:
    """Let the graph U-Nets take the kernels on CUDA, in the whole process.

    They are off until asked for, as they have not yet run on a GPU. Off CUDA, or without Triton,
    nothing changes.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, kernels
        >>> net = AdaptiveGraphUNet(2, 3, HAND)
        >>> with kernels.enabled():
        ...     pose = net(torch.rand(8, 21, 2))
        >>> pose.shape
        torch.Size([8, 21, 3])
    """
    with _switched(True):
        yield


@contextmanager
def disabled() -> Iterator[None]:
    """Compute by PyTorch what the kernels on CUDA, or numba on the CPU, would.

    For comparisons, and for gradients of gradients, which the kernels on CUDA do not have.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, kernels
        >>> net, x = AdaptiveGraphUNet(2, 3, HAND), torch.rand(8, 21, 2)
        >>> with kernels.disabled():
        ...     pose = net(x)
        >>> torch.allclose(pose, net(x), atol=1e-5)
        True
    """
    with _switched(False):
        yield


@contextmanager
def _switched(on: bool) -> Iterator[None]:
    global _enabled, _compiled
    before = _enabled, _compiled
    _enabled = _compiled = on
    try:
        yield
    finally:
        _enabled, _compiled = before


def takes(x: Tensor) -> bool:
    """Whether the kernels compute this input, for nets that have a plan."""
    return (
        _enabled
        and x.device.type in DEVICES
        and HAS_TRITON
        and x.dtype in DTYPES
        and _is_recent(x.device)
        and not is_transformed()
    )


def takes_compiled(x: Tensor) -> bool:
    """Whether the net compiled by numba computes this input."""
    return (
        _compiled
        and HAS_NUMBA
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and is_plain(x)
        and _numba_works()
    )


@cache
def _numba_works() -> bool:
    """Whether numba can be imported: it refuses a NumPy that it does not know."""
    try:
        import_module("numba")
    except ImportError as error:
        warnings.warn(f"handgraph does without numba: {error}", stacklevel=2)
        return False
    return True


def _is_recent(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    major: int = torch.cuda.get_device_properties(device).major
    return torch.version.hip is None and major >= MIN_CAPABILITY
