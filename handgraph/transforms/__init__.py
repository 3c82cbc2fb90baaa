"""Hands that are changed: transforms of a ``Data`` for PyG, and functions for many hands at once.

A transform changes a shallow copy, as PyG's own do, and composes with them in
``torch_geometric.transforms.Compose``. Random ones draw from PyTorch's source of random numbers:
``torch.manual_seed`` repeats them, and a ``DataLoader`` seeds it differently in each worker. Pixels
are ``uv`` and every entry whose name starts with ``uv_``. The pictures ``image``, ``mask`` and
``depth`` move with them, or are refused.
"""

from handgraph.transforms.jitter import JitterKeypoints
from handgraph.transforms.mirror import MirrorHand
from handgraph.transforms.normalize import NormalizeKeypoints
from handgraph.transforms.occlude import Occluded, simulate_occlusion
from handgraph.transforms.regions import sample_region
from handgraph.transforms.remove import RemoveJoints
from handgraph.transforms.rotate import RotateInPlane
from handgraph.transforms.simulate import SimulateOcclusion

__all__ = [
    "JitterKeypoints",
    "MirrorHand",
    "NormalizeKeypoints",
    "Occluded",
    "RemoveJoints",
    "RotateInPlane",
    "SimulateOcclusion",
    "sample_region",
    "simulate_occlusion",
]
