"""Hands to train and test on, as PyG datasets."""

from handgraph.datasets.synthetic import SyntheticHands

__all__ = ["SyntheticHands"]
