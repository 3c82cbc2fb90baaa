"""What learns on a graph: convolutions, pooling, graph U-Nets, the subgraph mask, mergers."""

from handgraph.nn.conv import AdaptiveGraphConv, normalize_adjacency
from handgraph.nn.linear import BranchLinear
from handgraph.nn.mask import Hypotheses, SubgraphMask
from handgraph.nn.merge import (
    ConsistencyMerger,
    GatedMerger,
    GraphMerger,
    HypothesisGraphMerger,
    MeanMerger,
    Merger,
    PrecisionMerger,
    WeightedMerger,
)
from handgraph.nn.pool import NodeMap, NodePool
from handgraph.nn.pyg import from_dense, to_dense
from handgraph.nn.unet import AdaptiveGraphUNet, halving_ladder

__all__ = [
    "AdaptiveGraphConv",
    "AdaptiveGraphUNet",
    "BranchLinear",
    "ConsistencyMerger",
    "GatedMerger",
    "GraphMerger",
    "Hypotheses",
    "HypothesisGraphMerger",
    "MeanMerger",
    "Merger",
    "NodeMap",
    "NodePool",
    "PrecisionMerger",
    "SubgraphMask",
    "WeightedMerger",
    "from_dense",
    "halving_ladder",
    "normalize_adjacency",
    "to_dense",
]
