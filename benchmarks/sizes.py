"""The core that all contestants compute: N branches and the ensemble network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import (
    AdaptiveGraphUNet,
    GraphMerger,
    HypothesisGraphMerger,
    SubgraphMask,
    halving_ladder,
)

CHANNELS = 3  # per joint: u, v and a depth cue as input, u, v and depth as output


class Core(nn.Module):
    """Split the joints, run the branches and merge their estimates.

    Args:
        split: ``[B, J, C] -> [B, N, K, C]``.
        branches: ``[B, N, K, C] -> [B, N, K, C']``.
        merge: ``[B, N, K, C'] -> [B, J, C']``.
        feature_nodes: Number of feature nodes of the merger; the first joints are used for them.
    """

    def __init__(
        self, split: SubgraphMask, branches: nn.Module, merge: nn.Module, feature_nodes: int = 0
    ) -> None:
        super().__init__()
        self.split = split
        self.branches = branches
        self.merge = merge
        self.feature_nodes = feature_nodes

    def forward(self, x: Tensor) -> Tensor:
        """Estimate every joint."""
        feature = (x[..., : self.feature_nodes, :],) if self.feature_nodes else ()
        out: Tensor = self.merge(self.branches(self.split(x)), *feature)
        return out


def default_core() -> Core:
    """Build the core with the library's default arguments."""
    removal = RemovalSets.by_level(HAND)
    branches = AdaptiveGraphUNet(CHANNELS, CHANNELS, removal)
    return Core(SubgraphMask(removal), branches, GraphMerger(CHANNELS, CHANNELS, removal))


def literal_core() -> Core:
    """Build the core as printed in the paper, with 80 ensemble nodes and HOPE-Net's node counts."""
    removal = RemovalSets.by_level(HAND)
    branches = AdaptiveGraphUNet(CHANNELS, CHANNELS, removal, nodes=(16, 11, 7, 4, 2, 1))
    merge = HypothesisGraphMerger(CHANNELS, CHANNELS, removal, feature_nodes=16)
    graph = Skeleton.edgeless(80)
    merge.unet = AdaptiveGraphUNet(CHANNELS, CHANNELS, graph, nodes=(80, 40, 20, 10, 5, 1))
    return Core(SubgraphMask(removal), branches, merge, feature_nodes=16)


def scaled_core(joints: int = 21, branches: int = 4, depth: int | None = None) -> Core:
    """Build a core of any size; each of several branches removes a quarter of the joints."""
    skeleton = Skeleton.edgeless(joints)
    if branches == 1:
        removal = RemovalSets.none(skeleton, 1)
    else:
        generator = torch.Generator().manual_seed(0)
        removal = RemovalSets.random(skeleton, branches, max(joints // 4, 1), generator)
    ladder = halving_ladder(removal.num_nodes)
    nodes = ladder if depth is None else ladder[: depth + 1]
    net = AdaptiveGraphUNet(CHANNELS, CHANNELS, removal, nodes=nodes)
    merge = GraphMerger(CHANNELS, CHANNELS, removal)
    if depth is not None:
        nodes = halving_ladder(joints)[: depth + 1]
        merge.unet = AdaptiveGraphUNet(merge.unet.in_channels, CHANNELS, skeleton, nodes=nodes)
    return Core(SubgraphMask(removal), net, merge)


SIZES: dict[str, Callable[[], Core]] = {"default": default_core, "literal": literal_core}
"""Choices of ``benchmarks.core --sizes``."""


def seeded(make: Callable[[], Core], seed: int = 0) -> Core:
    """Build a core with seeded parameters and adjacencies that differ from the identity."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        core = make()
        for net in core.modules():
            if isinstance(net, AdaptiveGraphUNet):
                for adjacency in net.adjacency:
                    adjacency.add_(0.3 * torch.rand_like(adjacency) - 0.1)
    return core


def poses(batch: int, joints: int, count: int, seed: int = 0) -> list[Tensor]:
    """Draw ``count`` different inputs ``[batch, joints, 3]``."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, joints, CHANNELS, generator=generator) for _ in range(count)]
