"""Merge by a graph network over the hypotheses: the paper's ensemble network, taken literally."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from handgraph._check import check_count
from handgraph.nn.composed import Composed
from handgraph.nn.fuse import join
from handgraph.nn.hypotheses import Hypotheses
from handgraph.nn.made_for import MadeFor
from handgraph.nn.merge.base import Merger
from handgraph.nn.plan import NodeMap, Plan, Stage, Term
from handgraph.nn.pool import NodePool
from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets


class HypothesisGraphMerger(MadeFor, Composed, Merger):
    """Regress the pose by a graph U-Net whose nodes are the hypotheses, as in the paper.

    In the paper (section 2), the input of the ensemble network is "an N(J - m) x 3 vector" and an
    image feature that is "a (J - m) x 3 vector": 64 nodes, or 80 with 16 feature nodes, of 3
    channels each (decision 7). A linear map over the nodes then gives the J joints. It has four
    times the parameters of :class:`~handgraph.nn.GraphMerger`, and is not better in our benchmark.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Channels of the merged pose.
        removal: The removal sets of the branches.
        feature_nodes: Number of further nodes, each with a feature of ``in_channels`` channels.
        channels: Width of the finest level of the U-Net.

    Shapes:
        - partial: ``[*, N, K, in_channels]``
        - feature: ``[*, feature_nodes, in_channels]``
        - node_mask: Bool ``[*, N, K]``; a missing hypothesis is a node of zeros
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If an input does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import HypothesisGraphMerger
        >>> merge = HypothesisGraphMerger(3, 3, RemovalSets.by_level(HAND), feature_nodes=16)
        >>> merge.unet.nodes
        (80, 40, 20, 10, 5, 3, 2, 1)
    """

    reads = (AdaptiveGraphUNet, *AdaptiveGraphUNet.reads, Hypotheses)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_nodes: int = 0,
        channels: int = 4,
    ):
        feature_channels = in_channels if feature_nodes else 0
        super().__init__(in_channels, out_channels, removal, feature_channels=feature_channels)
        check_count(feature_nodes, "feature_nodes", 0)
        self.feature_nodes = feature_nodes
        self.hypotheses = Hypotheses(removal)
        graph = Skeleton.edgeless(len(self.hypotheses.index) + feature_nodes)
        self.unet = AdaptiveGraphUNet(in_channels, out_channels, graph, channels=channels)
        self.pool = NodePool(graph.num_joints, removal.skeleton.num_joints)

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Required numbers of nodes and channels of a feature."""
        return self.feature_nodes, self.in_channels

    def forward(
        self, partial: Tensor, feature: Tensor | None = None, *, node_mask: Tensor | None = None
    ) -> Tensor:
        """Regress every joint from all hypotheses."""
        self.check(partial, feature, node_mask)
        if node_mask is not None:
            partial = partial.where(node_mask.unsqueeze(-1), 0)
        nodes = self.hypotheses.to_joints(self.hypotheses(partial), partial)
        if feature is not None:
            nodes = torch.cat([nodes, feature], dim=-2)
        out: Tensor = self.pool(self.unet(nodes))
        return out

    def lower(self) -> Plan:
        """Return the plan of :meth:`forward` without a feature, from N branches to one."""
        places = one_hot(self.hypotheses.index.cpu(), math.prod(self.hypotheses.shape))
        to_list = places.unflatten(1, self.hypotheses.shape).transpose(0, 1)
        to_list = NodeMap(to_list.to(self.pool.weight))
        gather = Stage((Term(0, to_list),), self.pool.weight.new_zeros(1, 1), relu=False)
        return join((gather,), self.unet.lower(), self.pool.lower())
