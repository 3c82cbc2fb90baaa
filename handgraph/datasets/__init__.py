"""Hands to train and test on, as PyG datasets."""

from handgraph.datasets.archive import NpzKeypoints
from handgraph.datasets.freihand import FreiHANDKeypoints
from handgraph.datasets.keypoints import KeypointDataset
from handgraph.datasets.rhd import RHDHands, write_rhd
from handgraph.datasets.synthetic import SyntheticHands

__all__ = [
    "FreiHANDKeypoints",
    "KeypointDataset",
    "NpzKeypoints",
    "RHDHands",
    "SyntheticHands",
    "write_rhd",
]
