"""The kernels compile to machine code for GPUs, here, without one."""

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
def test_kernels_compile_without_spills(tmp_path, capability, shared):
    out = tmp_path / "kernels.json"
    env = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.kernels", "--out", str(out)]
    command += ["--capability", str(capability)]
    root = Path(__file__).parents[3]
    subprocess.run(command, env=env, cwd=root, check=True, capture_output=True)
    rows = json.loads(out.read_text())["kernels"]
    walking = {"forward", "core", "back", "reduce"}
    merging = {"merge_nodes", "merge_nodes_back", "add_terms"}
    assert {row["kernel"] for row in rows} == walking | merging
    for row in rows:
        sizes = ["table_size"] if row["kernel"] in walking else []
        assert row["specialized"] == sizes  # always a multiple of 16: nothing compiles anew
        assert row["spilled"] == row["noncoherent_loads"] == 0, row
        assert row["registers"] * 32 * row["warps"] <= 65536, row
        assert row["shared"] <= shared * 1024, row
