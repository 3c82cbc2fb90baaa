"""Node features of samples, the input of a graph network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
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
    if isinstance(sample, Data) and "x" not in sample and "uv" in sample:
        sample.x = features_of(sample)
    return sample


def are_features(x: Tensor, sample: Data) -> bool:
    """Return whether ``x`` equals the node features that are derived from a sample."""
    if "uv" not in sample:
        return False
    expected = features_of(sample)
    if x.shape != expected.shape or x.is_meta:  # the meta device has no values
        return x.shape == expected.shape
    return torch.equal(x.nan_to_num(), expected.nan_to_num())


def features_of(sample: Data) -> Tensor:
    """Return the node features of a sample that has ``uv``."""
    return torch.cat([sample[name] for name in FEATURES if name in sample], dim=-1)
