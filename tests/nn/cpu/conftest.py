"""Count what numba computes."""

from __future__ import annotations

import pytest


@pytest.fixture
def calls(monkeypatch):
    """How often each compiled function was called."""
    pytest.importorskip("numba")
    from handgraph.nn.cpu import batch

    calls = {"merge_all": 0, "run_all": 0, "unmerge_all": 0, "run_all_back": 0}

    def count(name):
        original = getattr(batch, name)

        def counted(*args):
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(batch, name, counted)

    for name in calls:
        count(name)
    return calls


@pytest.fixture
def no_numba(calls):
    """Nothing in the test may take it."""
    yield calls
    assert not any(calls.values())
