"""With the extra `scatter`, the mergers use torch-scatter and return the same values."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter

import pytest
import torch
import torch_geometric.typing

from handgraph import HAND, RemovalSets
from handgraph.nn import GatedMerger, MeanMerger

INSTALLED = importlib.util.find_spec("torch_scatter") is not None
REQUIRED = os.environ.get("HANDGRAPH_REQUIRE_SCATTER") == "1"

pytestmark = pytest.mark.skipif(
    not (INSTALLED or REQUIRED), reason="needs torch-scatter (make test-scatter)"
)


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of ``torch_scatter.segment_csr``."""
    import torch_scatter

    counter, segment_csr = Counter(), torch_scatter.segment_csr

    def counted(*args, **kwargs):
        counter["segment_csr"] += 1
        return segment_csr(*args, **kwargs)

    monkeypatch.setattr(torch_scatter, "segment_csr", counted)
    return counter


@pytest.mark.parametrize("merger", [MeanMerger, GatedMerger])
def test_merger_calls_segment_csr(merger, calls, monkeypatch):
    removal = RemovalSets.by_level(HAND)
    merge = merger(3, 3, removal)
    partial = torch.randn(2, *removal.kept.shape, 3)

    with_scatter = merge(partial)
    assert calls["segment_csr"] > 0

    calls.clear()
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    torch.testing.assert_close(merge(partial), with_scatter)
    assert calls["segment_csr"] == 0
