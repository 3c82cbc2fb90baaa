"""What is made once, and kept for as long as the process runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import _lru_cache_wrapper, cache, wraps
from typing import Any, TypeVar

_T = TypeVar("_T")


def kept(make: Callable[..., _T]) -> _lru_cache_wrapper[_T]:
    """Call it once for the same arguments, in a thread of its own.

    While PyTorch captures a CUDA graph, or warms up for one as in ``torch.compile(mode=
    "reduce-overhead")``, what the thread allocates is the graph's, which writes over it later.
    """

    @cache
    @wraps(make)
    def once(*arguments: Any) -> _T:
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(make, *arguments).result()

    return once
