"""Node features of samples, the input of a graph network."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.data import Data, Dataset

FEATURES = ("uv", "confidence")
"""Entries that are concatenated to ``x``, where present."""


class WithFeatures(Dataset):
    """A dataset that adds node features ``x [J, C]`` to its samples after the transform."""

    def __getitem__(self, idx: Any) -> Any:  # noqa: ANN401
        """Return a sample, or a slice of the dataset."""
        return add_features(super().__getitem__(idx))


def add_features(sample: Any) -> Any:  # noqa: ANN401  (a transform may return any type)
    """Set ``x`` of a ``Data`` that has none."""
    if isinstance(sample, Data) and "x" not in sample:
        parts = [sample[name] for name in FEATURES if name in sample]
        if "uv" in sample:
            sample.x = torch.cat(parts, dim=-1)
    return sample
