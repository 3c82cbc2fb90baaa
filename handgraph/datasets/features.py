"""Node features: what a graph network reads of a sample."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.data import Data, Dataset

FEATURES = ("uv", "confidence")
"""The entries that ``x`` is made of, as far as they are there."""


class WithFeatures(Dataset):
    """A dataset whose samples get ``x [J, C]``: the joints as a transform left them, and scores."""

    def __getitem__(self, idx: Any) -> Any:  # noqa: ANN401
        """Give a sample, or a part of the dataset."""
        return add_features(super().__getitem__(idx))


def add_features(sample: Any) -> Any:  # noqa: ANN401  (a transform returns what it likes)
    """Set ``x`` of a ``Data``, unless it has one."""
    if isinstance(sample, Data) and "x" not in sample:
        parts = [sample[name] for name in FEATURES if name in sample]
        if "uv" in sample:
            sample.x = torch.cat(parts, dim=-1)
    return sample
