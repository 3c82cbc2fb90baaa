"""What every test starts from: one thread, one seed, deterministic hypothesis."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.load_profile("ci")
torch.set_num_threads(1)
if not (torch.cuda.is_available() or "HANDGRAPH_VIRTUAL_GPU" in os.environ):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when it is imported

# numba does not see that a function which a cached one calls has changed
folder = Path(__file__).parents[1] / "handgraph/nn/cpu"
sources = b"".join(source.read_bytes() for source in sorted(folder.glob("*.py")))
digest = hashlib.sha256(sources).hexdigest()
os.environ.setdefault("NUMBA_CACHE_DIR", f"{tempfile.gettempdir()}/handgraph-{digest[:16]}")


@pytest.fixture(autouse=True)
def seed():
    """Seed torch and numpy before each test, whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (for code under test that draws from the global state)
