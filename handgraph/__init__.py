"""Graph networks on hand skeletons under occlusion, on PyTorch Geometric."""

import importlib
import warnings
from types import ModuleType

import torch

with warnings.catch_warnings():
    for category in (DeprecationWarning, FutureWarning):  # the import raises one of them
        warnings.filterwarnings("ignore", "`torch.jit", category=category)
    import torch_geometric.data  # noqa: F401

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

SUBPACKAGES = (
    *("datasets", "detectors", "export", "formats", "geometry", "hub", "losses", "masks"),
    *("metrics", "nn", "plot", "published", "testing", "transforms", "video", "vision"),
)
"""Imported on first access: ``import handgraph`` is enough to use ``handgraph.nn``."""


def __getattr__(name: str) -> ModuleType:
    if name in SUBPACKAGES:
        return importlib.import_module(f"handgraph.{name}")
    raise AttributeError(f"module 'handgraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *SUBPACKAGES})
