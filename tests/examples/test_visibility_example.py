"""The example runs in small; its numbers are the library's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "visibility_masks.py"


@pytest.mark.slow
def test_example_prints_a_row_for_every_way_to_choose():
    flags = ["--samples", "300", "--epochs", "1", "--seeds", "1"]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLE), *flags],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [line for line in run.stdout.splitlines() if "±" in line]
    assert [row.split("  ")[0] for row in rows] == [
        "nothing",
        "a quarter, at random",
        "by the detector's score",
        "what is truly hidden",
        "by learned visibility",
    ]
    numbers = [float(cell) for row in rows for cell in row.replace("±", " ").split()[-4:]]
    assert all(0 <= number <= 100 for number in numbers)
