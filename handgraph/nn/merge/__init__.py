"""Mergers of the incomplete poses of N branches into one pose."""

from handgraph.nn.merge.base import Merger
from handgraph.nn.merge.consistency import ConsistencyMerger
from handgraph.nn.merge.gate import GatedMerger
from handgraph.nn.merge.graph import GraphMerger
from handgraph.nn.merge.literal import HypothesisGraphMerger
from handgraph.nn.merge.mean import MeanMerger
from handgraph.nn.merge.precision import PrecisionMerger
from handgraph.nn.merge.weighted import WeightedMerger

__all__ = [
    "ConsistencyMerger",
    "GatedMerger",
    "GraphMerger",
    "HypothesisGraphMerger",
    "MeanMerger",
    "Merger",
    "PrecisionMerger",
    "WeightedMerger",
]
