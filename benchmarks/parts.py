"""The parts of the pipeline from an image to a pose, each a module with one input tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask
from handgraph.vision import (
    BranchFeatureEncoder,
    FeatureEncoder,
    HeatmapGenerator,
    JointFeatureSampler,
    SharedFeatureEncoder,
    decode_heatmaps,
)


class Detector(nn.Module):
    """Map images ``[B, 3, S, S]`` to (u, v) in [-1, 1] ``[B, J, 2]`` and the feature map."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.generator = HeatmapGenerator(HAND.num_joints, backbone)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joints and the feature map."""
        heatmaps, features = self.generator(images)
        uv = decode_heatmaps(heatmaps.float())[0]
        return uv * (2 / images.shape[-1]) - 1, features


class Encoders(nn.Module):
    """Feature encoders of the branches and the merger for a feature map ``[B, C, h, w]``.

    Args:
        in_channels: Channels of the map.
        removal: The removal sets.
        hidden_channels: Width of the encoders.
        shared: Whether the branches' encoders share a trunk.
    """

    def __init__(
        self, in_channels: int, removal: RemovalSets, hidden_channels: int, shared: bool = False
    ) -> None:
        super().__init__()
        joints, hidden = removal.skeleton.num_joints, hidden_channels
        encoder = SharedFeatureEncoder if shared else BranchFeatureEncoder
        self.branches = encoder(in_channels, 2, removal, hidden_channels=hidden)
        self.merge = FeatureEncoder(in_channels, joints, 3, hidden_channels=hidden)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features for the branches ``[B, N, K, 2]`` and for the merger ``[B, J, 3]``."""
        return self.branches(features), self.merge(features)


class Samplers(nn.Module):
    """Sample features at the joints instead of encoding them; ``forward`` times a diagonal."""

    uv: Tensor

    def __init__(self, in_channels: int, removal: RemovalSets) -> None:
        super().__init__()
        self.split = SubgraphMask(removal)
        self.branches = JointFeatureSampler(in_channels, 2)
        self.merge = JointFeatureSampler(in_channels, 3)
        line = torch.linspace(0, 60, removal.skeleton.num_joints)
        self.register_buffer("uv", torch.stack([line, line], dim=-1)[None])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Sample a diagonal for the branches ``[B, N, K, 2]`` and the merger ``[B, J, 3]``."""
        return self.sample(features, self.uv.expand(len(features), -1, -1))

    def sample(self, features: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Sample the joints' pixels ``[B, J, 2]`` for the branches and the merger."""
        return self.split(self.branches(features, uv)), self.merge(features, uv)


class GraphCore(nn.Module):
    """Branches and merger with features, for joints ``[B, J, 2]``."""

    def __init__(self, removal: RemovalSets) -> None:
        super().__init__()
        self.split = SubgraphMask(removal)
        self.branches = AdaptiveGraphUNet(4, 3, removal)
        self.merge = GraphMerger(3, 3, removal, feature_channels=3)

    def partial(self, uv: Tensor, of_branches: Tensor) -> Tensor:
        """Estimate the poses of the branches ``[B, N, K, 3]``."""
        out: Tensor = self.branches(torch.cat([self.split(uv), of_branches.to(uv)], dim=-1))
        return out

    def lift(self, uv: Tensor, of_branches: Tensor, of_joints: Tensor) -> Tensor:
        """Estimate the pose ``[B, J, 3]``."""
        partial = self.partial(uv, of_branches)
        out: Tensor = self.merge(partial, of_joints.to(partial))
        return out

    def forward(self, uv: Tensor) -> Tensor:
        """Estimate the pose with joints in place of features; the time is the same."""
        joints = torch.cat([uv, uv[..., :1]], dim=-1)
        return self.lift(uv, self.split(uv), joints)


class Pipeline(nn.Module):
    """The whole pipeline from an image to a pose."""

    def __init__(self, backbone: str, hidden_channels: int) -> None:
        super().__init__()
        removal = RemovalSets.by_level(HAND)
        self.detector = Detector(backbone)
        channels = self.detector.generator.feature_channels
        self.encoders = Encoders(channels, removal, hidden_channels)
        self.core = GraphCore(removal)

    def forward(self, images: Tensor) -> Tensor:
        """Estimate the pose ``[B, J, 3]``."""
        uv, features = self.detector(images)
        return self.core.lift(uv, *self.encoders(features))
