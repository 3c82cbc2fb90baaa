"""PyG datasets of hands for training and testing."""

import torch

with torch.device("cpu"):  # constants are on the CPU, independent of the default device
    from handgraph.datasets.archive import NpzKeypoints
    from handgraph.datasets.freihand import FreiHANDKeypoints
    from handgraph.datasets.hand_pose import HandPose
    from handgraph.datasets.hand_shape import HandShape
    from handgraph.datasets.hand_view import HandView
    from handgraph.datasets.keypoints import KeypointDataset
    from handgraph.datasets.rhd import RHDHands, write_rhd
    from handgraph.datasets.synthetic import NARROW, SyntheticHands

__all__ = [
    "NARROW",
    "FreiHANDKeypoints",
    "HandPose",
    "HandShape",
    "HandView",
    "KeypointDataset",
    "NpzKeypoints",
    "RHDHands",
    "SyntheticHands",
    "write_rhd",
]
