"""Settings of every test: one thread, a seed, deterministic hypothesis and no windows."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.load_profile("ci")
torch.set_num_threads(1)
os.environ["MPLBACKEND"] = "Agg"  # matplotlib reads it when it is imported
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when it is imported


@pytest.fixture(autouse=True)
def seed():
    """Seed torch and numpy before each test."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (for code under test that draws from the global state)


@pytest.fixture(autouse=True)
def closed_figures():
    """Close the figures of pyplot that a test left open."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
