"""The kernel compiles to machine code for GPUs without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton.backends.nvidia")


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "shared"), [(90, 227), (86, 99)], ids=["H100", "RTX 3090"])
def test_kernel_compiles_for_gpus(tmp_path, capability, shared):
    """The kernel fits, hardly spills, and does not read its own writes through another cache."""
    module = "tests.nn.engines.cuda.compile_kernels"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, str(capability)],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(rows) == 8
    for row in rows:
        assert row["even"] == ["table_size"]  # always a multiple of 16, so nothing is recompiled
        assert row["registers"] * 32 * row["num_warps"] <= 65536, row
        assert row["shared"] <= shared * 1024, row
        assert row["stack"] <= 64, row
        assert row["stale"] == 0, row
