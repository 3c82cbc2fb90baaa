"""Contestants that compute another function: common networks for the same task."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.models import GraphUNet

from benchmarks.sizes import CHANNELS, Core
from handgraph import RemovalSets, Skeleton, coarsen
from handgraph.nn import GraphMerger, PerBranch, SkeletonUNet, SubgraphMask


def skeleton_core(removal: RemovalSets) -> Core:
    """Build the U-Net with ``GCNConv`` over the sparse skeleton, as usual for message passing."""
    ladder = coarsen(removal.skeleton)

    def unet(in_channels: int, skeleton: Skeleton) -> nn.Module:
        return SkeletonUNet(
            in_channels, CHANNELS, skeleton, conv=GCNConv, channels=4, ladder=ladder
        )

    return _core(removal, unet)


def top_k_core(removal: RemovalSets) -> Core:
    """Build the core with PyG's ``GraphUNet`` instead of each net."""
    return _core(removal, TopKUNet)


class TopKUNet(nn.Module):
    """PyG's ``GraphUNet`` (Gao and Ji, ICML 2019), which keeps the nodes with the highest scores.

    Each of its five levels has 16 channels; the other nets have 4 to 64.
    """

    def __init__(self, in_channels: int, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.net = GraphUNet(in_channels, 16, CHANNELS, depth=4)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, J, C]`` to ``[B, J, C']``."""
        edge_index, graph = disjoint(self.skeleton, x.shape[0], x.device)
        out: Tensor = self.net(x.flatten(0, 1), edge_index, graph)
        return out.reshape(*x.shape[:2], CHANNELS)


@lru_cache(maxsize=64)
def disjoint(skeleton: Skeleton, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the edges of ``batch`` copies of a skeleton, and the index of each node's copy.

    They are cached, because a data loader would provide them.
    """
    graph = torch.arange(batch, device=device)
    first = skeleton.num_joints * graph
    edges = skeleton.edge_index.to(device).unsqueeze(1) + first.unsqueeze(1)
    return edges.flatten(1), graph.repeat_interleave(skeleton.num_joints)


def _core(removal: RemovalSets, unet: Callable[[int, Skeleton], nn.Module]) -> Core:
    merge = GraphMerger(CHANNELS, CHANNELS, removal)
    width: int = merge.unet.in_channels
    merge.unet = unet(width, removal.skeleton)  # type: ignore[assignment]  # another net
    branches = PerBranch(removal, lambda skeleton: unet(CHANNELS, skeleton))
    return Core(SubgraphMask(removal), branches, merge)
