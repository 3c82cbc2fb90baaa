"""Where the kernels run: on a GPU, in Triton's interpreter, or on a virtual GPU."""

from __future__ import annotations

import os
from functools import wraps

import pytest
import torch

from handgraph.nn.kernels import dispatch, launch

CAPABILITY = int(os.environ.get("HANDGRAPH_VIRTUAL_GPU", "0"))
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if CAPABILITY or IS_INTERPRETED else "cuda"
pytest.importorskip("triton", reason="there is no Triton for this system")


def take_virtual_gpu():
    """Treat tensors of the CPU as if they were on a GPU of this capability."""
    from tests.virtual_gpu.driver import install

    is_wide = launch._is_wide.__wrapped__

    @wraps(is_wide)
    def is_virtually_wide(device):
        return CAPABILITY // 10 in launch.WIDE_MAJORS if device.type == "cpu" else is_wide(device)

    install(CAPABILITY)
    launch._is_wide = is_virtually_wide
    launch._operand = lambda x: x.dtype


if CAPABILITY:
    take_virtual_gpu()


@pytest.fixture
def device():
    return torch.device(DEVICE)


@pytest.fixture
def kernels(monkeypatch):
    """Let the modules take the kernels wherever they run, and count the launches."""
    monkeypatch.setattr(dispatch, "DEVICES", (DEVICE,))
    monkeypatch.setattr(dispatch, "_enabled", True)
    calls = {"forward": 0, "backward": 0, "core": 0}

    def count(name):
        original = getattr(launch, name)

        def counted(*args):
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(launch, name, counted)

    for name in calls:
        count(name)
    return calls


@pytest.fixture
def small_blocks(monkeypatch):
    """As few samples at a time as there can be."""
    for name in ("FEW", "MANY", "NARROW", "REDUCE", "REDUCE_NARROW"):
        monkeypatch.setattr(launch, name, launch.Tiling(16, 1, 1))


@pytest.fixture
def exact():
    """Deterministic algorithms; PyTorch then fills memory that nobody has written with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
