"""How functions are compiled by numba, and where the result is kept."""

from __future__ import annotations

import hashlib
import sys
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, NullCache

FAST = {"contract", "nsz"}
"""Products and sums may be fused; NaN and infinity stay what they are."""


def compiled(function: Any, fast: set[str] = FAST) -> Any:
    """Compile when first called from compiled code."""
    return njit(fastmath=fast, nogil=True, error_model="numpy")(function)


def reduction(function: Any) -> Any:
    """Compile what only sums, in an order that LLVM chooses.

    Where the loop wrote something too, the order might depend on where arrays lie in the memory.
    """
    return compiled(function, FAST | {"reassoc"})


def entry(function: Any) -> Any:
    """Compile when first called, and keep the result on disk where that can be written."""
    dispatcher = compiled(function)
    try:
        dispatcher._cache = _Cache(function)
    except RuntimeError:  # there is no place for it
        dispatcher._cache = _NoCache()
    return dispatcher


class _Cache(FunctionCache):
    """numba's cache, for all sources of this package together, and never in the way.

    numba looks at the source of the function alone, but compiles what it calls too.
    """

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _digest())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # whatever a damaged file raises
            found = None
            with suppress(OSError):
                self.flush()
        if found is None:
            _announce(f"kept in {self.cache_path}")
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, a folder that is gone
            warnings.warn(f"compiled code cannot be kept: {error}", stacklevel=2)


class _NoCache(NullCache):
    def load_overload(self, sig: Any, target_context: Any) -> None:
        _announce("kept for this process only, as no cache folder can be written")


@cache
def _digest() -> str:
    """What all sources that compiled code is made of say."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _announce(where: str) -> None:
    print(f"handgraph: compiling graph networks for this CPU; {where}", file=sys.stderr, flush=True)
