"""PyG transforms of a ``Data``, and functions on batches of hands.

A transform changes a shallow copy, like PyG's transforms, and can be combined with them in
``torch_geometric.transforms.Compose``. Random transforms draw from PyTorch's global generator,
which ``torch.manual_seed`` seeds and a ``DataLoader`` seeds differently in each worker. Pixels are
``uv`` and every entry whose name starts with ``uv_``. The images ``image``, ``mask`` and ``depth``
are transformed with the pixels, or raise an error. Node features ``x`` that a dataset made of
``uv`` and ``confidence`` are recomputed. Any other ``x`` does not change.
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
