"""Run the kernels on a GPU or in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

from handgraph.nn import engines
from handgraph.nn.engines.cuda import launch

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if IS_INTERPRETED else "cuda"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products
pytest.importorskip("triton", reason="there is no Triton for this system")


@pytest.fixture
def device():
    return torch.device(DEVICE)


@pytest.fixture
def triton(monkeypatch):
    """Select the engine and count its launches."""
    calls, original = {"forward": 0, "backward": 0}, launch.launch

    def counted(source, target, acts, grads, *args):
        calls["forward" if grads is None else "backward"] += 1
        return original(source, target, acts, grads, *args)

    monkeypatch.setattr(launch, "launch", counted)
    with engines.use("triton"):
        yield calls


@pytest.fixture
def exact():
    """Use deterministic algorithms, with which PyTorch fills uninitialised memory with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def multiplied():
    """Set how float32 is multiplied with PyTorch's switch."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision

    def switch(name):
        matmul.fp32_precision = name

    yield switch
    matmul.fp32_precision = before
