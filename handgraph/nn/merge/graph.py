"""Merge by a graph network: the paper's ensemble network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from handgraph._check import check_device
from handgraph.nn.composed import Composed
from handgraph.nn.constants import HasConstants
from handgraph.nn.fuse import join
from handgraph.nn.made_for import MadeFor
from handgraph.nn.merge.base import Merger
from handgraph.nn.mixing import samples_first, samples_last
from handgraph.nn.plan import NodeMap, Plan, Stage, Term
from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.subgraph import RemovalSets


class GraphMerger(HasConstants, MadeFor, Composed, Merger):
    """Regress the pose from all hypotheses by an Adaptive Graph U-Net over the joints.

    The paper's ensemble network (section 2, Fig. 2). The input of each joint's node is its N
    hypotheses (0 if a branch removes the joint), N flags that mark the present ones, and its
    feature: ``N * (in_channels + 1) + feature_channels`` channels (decision 7). A joint without any
    hypothesis is inferred from the other joints. :class:`~handgraph.nn.HypothesisGraphMerger`
    follows the paper literally, with hypotheses as nodes.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Channels of the merged pose.
        removal: The removal sets of the branches.
        feature_channels: Channels of a further feature per joint.
        channels: Width of the finest level of the U-Net.

    Shapes:
        - partial: ``[*, N, K, in_channels]``
        - feature: ``[*, J, feature_channels]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If an input does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import GraphMerger
        >>> merge = GraphMerger(3, 3, RemovalSets.by_level(HAND), feature_channels=3)
        >>> merge(torch.rand(8, 4, 16, 3), torch.rand(8, 21, 3)).shape
        torch.Size([8, 21, 3])
    """

    slot: Tensor
    there: Tensor
    reads = (AdaptiveGraphUNet, *AdaptiveGraphUNet.reads)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_channels: int = 0,
        channels: int = 4,
    ):
        super().__init__(in_channels, out_channels, removal, feature_channels=feature_channels)
        branch = torch.arange(len(removal), device="cpu").unsqueeze(1)
        slot = (branch * removal.num_nodes + removal.position).where(removal.keep_mask, 0)
        there = removal.keep_mask.mT[..., None, None]
        self.register_constants(slot=slot.mT.contiguous(), there=there)
        width = len(removal) * (in_channels + 1) + feature_channels
        self.unet = AdaptiveGraphUNet(width, out_channels, removal.skeleton, channels=channels)

    def forward(
        self, partial: Tensor, feature: Tensor | None = None, *, node_mask: Tensor | None = None
    ) -> Tensor:
        """Regress every joint from the hypotheses of all joints."""
        self.check(partial, feature, node_mask)
        check_device(partial, "partial of GraphMerger", self.slot)
        values, there = self._by_joint(partial), self.there
        if node_mask is not None:
            there = there & self._by_joint(node_mask.unsqueeze(-1))
        flags = there.to(values.dtype).expand(-1, -1, -1, values.shape[3])
        nodes = torch.cat([values.where(there, 0), flags], dim=2).flatten(1, 2)
        if feature is not None:
            nodes = torch.cat([nodes, samples_last(feature, 2)], dim=1)
        out: Tensor = self.unet(samples_first(nodes, partial.shape[:-3]))
        return out

    def lower(self) -> Plan:
        """Return the plan of :meth:`forward` without a feature, from N branches to one."""
        first, *others = self.unet.lower()
        ((_, graph, width),) = first.terms
        weight = cast("Tensor", width)
        by_branch = weight[0].unflatten(1, (len(self.removal), -1)).transpose(0, 1)
        hypotheses, flag = by_branch.split_with_sizes([self.in_channels, 1], dim=2)
        places = one_hot(self.removal.position + 1, self.removal.num_nodes + 1)[..., 1:]
        to_joints = NodeMap(places.to(weight))
        flags = self.there[..., 0, 0].to(weight) @ flag.squeeze(2)
        gather = Stage((Term(0, to_joints, hypotheses),), flags.unsqueeze(0), relu=False)
        return join((gather,), (first._replace(terms=(Term(0, graph),)), *others))

    def _by_joint(self, y: Tensor) -> Tensor:
        """Rearrange ``[*, N, K, C]`` to ``[J, N, C, B]``."""
        flat = samples_last(y, 3).flatten(0, 1)
        joints = flat.index_select(0, self.slot.flatten())
        return joints.view(*self.slot.shape, *joints.shape[1:])
