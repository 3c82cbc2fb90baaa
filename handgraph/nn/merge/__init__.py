"""Mergers: from the incomplete poses of N branches to one pose."""

from handgraph.nn.merge.base import Merger
from handgraph.nn.merge.gate import GatedMerger
from handgraph.nn.merge.graph import GraphMerger
from handgraph.nn.merge.literal import HypothesisGraphMerger
from handgraph.nn.merge.mean import MeanMerger

__all__ = ["GatedMerger", "GraphMerger", "HypothesisGraphMerger", "MeanMerger", "Merger"]
