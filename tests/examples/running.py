"""Run an example in this process."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name, *arguments):
    """Return the namespace that a script leaves, and what it prints by ``print``."""
    printed = []

    def say(*values, file=None, **options):
        if file is None:  # numba's compilation is announced on stderr
            printed.append(" ".join(map(str, values)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        patch.setattr("builtins.print", say)
        names = runpy.run_path(str(EXAMPLES / name))
    return names, "\n".join(printed)
