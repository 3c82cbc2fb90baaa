"""Where the kernels run: on a GPU if there is one, and else in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

from handgraph.nn.kernels import dispatch, launch

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
pytest.importorskip("triton", reason="there is no Triton for this system")


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
    for name in ("FEW", "MANY", "NARROW", "REDUCE"):
        monkeypatch.setattr(launch, name, launch.Tiling(16, 1, 1))


@pytest.fixture
def exact():
    """Deterministic algorithms; PyTorch then fills memory that nobody has written with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
