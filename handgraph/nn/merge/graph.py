"""Merge by a graph network: the paper's ensemble network."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.nn.merge.base import Merger
from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.subgraph import RemovalSets


class GraphMerger(Merger):
    """Regress the whole pose from all hypotheses by an Adaptive Graph U-Net over the joints.

    The paper's ensemble network (section 2, Fig. 2). Each joint becomes a node that carries the N
    hypotheses of it (0 where a branch lost it), N flags that say which are there, and its feature:
    ``N * (in_channels + 1) + feature_channels`` channels (decision 7). A joint without any
    hypothesis is inferred from the others.
    :class:`~handgraph.nn.HypothesisGraphMerger` is the literal reading, with hypotheses as nodes.

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
        ValueError: If anything that comes does not fit the removal sets.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import GraphMerger
        >>> merge = GraphMerger(3, 3, RemovalSets.by_level(HAND), feature_channels=3)
        >>> merge(torch.rand(8, 4, 16, 3), torch.rand(8, 21, 3)).shape
        torch.Size([8, 21, 3])
    """

    slot: Tensor
    keep_mask: Tensor

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
        first = torch.arange(len(removal)).unsqueeze(1) * removal.num_nodes
        slot = (first + removal.position).where(removal.keep_mask, 0)
        self.register_buffer("slot", slot, persistent=False)
        self.register_buffer("keep_mask", removal.keep_mask, persistent=False)
        width = len(removal) * (in_channels + 1) + feature_channels
        self.unet = AdaptiveGraphUNet(width, out_channels, removal.skeleton, channels=channels)

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        self.unet.reset_parameters()

    def forward(
        self, partial: Tensor, feature: Tensor | None = None, *, node_mask: Tensor | None = None
    ) -> Tensor:
        """Regress every joint from the hypotheses of all."""
        self.check(partial, feature, node_mask)
        there = self.keep_mask if node_mask is None else self.keep_mask & self._by_joint(node_mask)
        there = there.unsqueeze(-1).expand(*partial.shape[:-3], *self.keep_mask.shape, 1)
        values = self._by_joint(partial, -3).where(there, 0)
        nodes = torch.cat([values, there.to(values.dtype)], dim=-1).transpose(-3, -2).flatten(-2)
        if feature is not None:
            nodes = torch.cat([nodes, feature], dim=-1)
        out: Tensor = self.unet(nodes)
        return out

    def _by_joint(self, y: Tensor, dim: int = -2) -> Tensor:
        """Take the node dimensions [N, K] that start at ``dim`` to [N, J]."""
        flat = y.flatten(dim, dim + 1).index_select(dim + 1, self.slot.flatten())
        joints: Tensor = flat.unflatten(dim + 1, self.slot.shape)
        return joints
