"""Compilation by numba, and the cache of its results."""

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
"""Products and sums may be fused. NaN and infinity are preserved."""


def compiled(function: Any, fast: set[str] = FAST) -> Any:
    """Compile a function at its first call from compiled code."""
    return njit(fastmath=fast, nogil=True, error_model="numpy")(function)


def reduction(function: Any) -> Any:
    """Compile a function that only sums, in an order that LLVM chooses.

    If the loop also wrote to memory, the order could depend on the addresses of the arrays.
    """
    return compiled(function, FAST | {"reassoc"})


def entry(function: Any) -> Any:
    """Compile a function at its first call, and cache the result on disk if possible."""
    dispatcher = compiled(function)
    try:
        dispatcher._cache = _Cache(function)
    except RuntimeError:  # no cache folder is writable
        dispatcher._cache = _NoCache()
    return dispatcher


class _Cache(FunctionCache):
    """numba's cache, keyed by all sources of this package. Its errors do not stop a run.

    numba's own key covers only the source of a function, not of the functions that it calls.
    """

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _digest())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # a damaged file may raise anything
            found = None
            with suppress(OSError):
                self.flush()
        if found is None:
            _announce(f"cached in {self.cache_path}")
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, a missing folder
            warnings.warn(f"compiled code cannot be cached: {error}", stacklevel=2)


class _NoCache(NullCache):
    def load_overload(self, sig: Any, target_context: Any) -> None:
        _announce("not cached, as no cache folder is writable")


@cache
def _digest() -> str:
    """Return a hash of all sources of compiled code."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _announce(where: str) -> None:
    print(f"handgraph: compiling graph networks for this CPU; {where}", file=sys.stderr, flush=True)
