"""Graph networks on hand skeletons under occlusion, on PyTorch Geometric."""

import torch

from handgraph.coarsening import Coarsening, coarsen
from handgraph.skeleton import Skeleton
from handgraph.skeletons import COCO, H36M, HAND, INTERHAND, MANO, RHD
from handgraph.subgraph import RemovalSets

torch.serialization.add_safe_globals([Coarsening, RemovalSets, Skeleton])  # for weights_only=True

__version__ = "0.1.0"

__all__ = [
    "COCO",
    "H36M",
    "HAND",
    "INTERHAND",
    "MANO",
    "RHD",
    "Coarsening",
    "RemovalSets",
    "Skeleton",
    "__version__",
    "coarsen",
]
