"""Count what numba computes."""

from __future__ import annotations

import pytest


@pytest.fixture
def calls(monkeypatch):
    """How often each compiled function of the net was called."""
    pytest.importorskip("numba")
    from handgraph.nn.cpu import batch

    return count(monkeypatch, batch, "merge_all", "run_all", "unmerge_all", "run_all_back")


@pytest.fixture
def core_calls(monkeypatch):
    """How often the whole core was."""
    pytest.importorskip("numba")
    from handgraph.nn.cpu import core

    return count(monkeypatch, core, "run_core")


@pytest.fixture
def no_numba(calls, core_calls):
    """Nothing in the test may take it."""
    yield calls
    assert not any((calls | core_calls).values())


def count(monkeypatch, module, *names):
    """Count the calls of functions."""
    calls = dict.fromkeys(names, 0)

    def counted(name, original):
        def call(*args):
            calls[name] += 1
            return original(*args)

        return call

    for name in names:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    return calls
