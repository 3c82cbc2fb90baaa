"""Graph layers: convolutions, pooling, graph U-Nets, the subgraph mask and mergers."""

from handgraph.nn.adapter import SkeletonConv
from handgraph.nn.adjacency import normalize_adjacency
from handgraph.nn.agcn_conv import AGCNConv, skeleton_partitions
from handgraph.nn.conv import AdaptiveGraphConv
from handgraph.nn.fold import fold
from handgraph.nn.head import JointHead
from handgraph.nn.hope import load_hope_weights
from handgraph.nn.hypotheses import Hypotheses
from handgraph.nn.ladder import halving_ladder
from handgraph.nn.linear import BranchLinear
from handgraph.nn.mask import SubgraphMask
from handgraph.nn.merge.base import Merger
from handgraph.nn.merge.consistency import ConsistencyMerger
from handgraph.nn.merge.gate import GatedMerger
from handgraph.nn.merge.graph import GraphMerger
from handgraph.nn.merge.literal import HypothesisGraphMerger
from handgraph.nn.merge.mean import MeanMerger
from handgraph.nn.merge.precision import PrecisionMerger
from handgraph.nn.merge.weighted import WeightedMerger
from handgraph.nn.modulated_conv import ModulatedGraphConv
from handgraph.nn.per_branch import PerBranch
from handgraph.nn.plan import NodeMap
from handgraph.nn.pool import NodePool
from handgraph.nn.pyg import from_dense, to_dense
from handgraph.nn.sem_conv import SemGraphConv
from handgraph.nn.skeletal import SkeletalPool, SkeletalUnpool
from handgraph.nn.skeleton_edges import SkeletonEdges
from handgraph.nn.skeleton_unet import PerLevel, SkeletonUNet
from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.nn.visibility import VisibilityLifter

__all__ = [
    "AGCNConv",
    "AdaptiveGraphConv",
    "AdaptiveGraphUNet",
    "BranchLinear",
    "ConsistencyMerger",
    "GatedMerger",
    "GraphMerger",
    "Hypotheses",
    "HypothesisGraphMerger",
    "JointHead",
    "MeanMerger",
    "Merger",
    "ModulatedGraphConv",
    "NodeMap",
    "NodePool",
    "PerBranch",
    "PerLevel",
    "PrecisionMerger",
    "SemGraphConv",
    "SkeletalPool",
    "SkeletalUnpool",
    "SkeletonConv",
    "SkeletonEdges",
    "SkeletonUNet",
    "SubgraphMask",
    "VisibilityLifter",
    "WeightedMerger",
    "fold",
    "from_dense",
    "halving_ladder",
    "load_hope_weights",
    "normalize_adjacency",
    "skeleton_partitions",
    "to_dense",
]
