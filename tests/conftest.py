"""Settings of every test: one thread, a seed and deterministic hypothesis."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.load_profile("ci")
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when it is imported


@pytest.fixture(autouse=True)
def seed():
    """Seed torch and numpy before each test."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (for code under test that draws from the global state)
