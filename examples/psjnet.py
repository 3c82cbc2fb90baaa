"""The paper's network, from an image to a hand pose, with branches that each remove some joints.

``python examples/train.py --method psjnet`` trains it. ``pipeline/baselines.py`` has the baselines.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from handgraph import HAND, RemovalSets
from handgraph.geometry import normalize_uv
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, Merger, SubgraphMask
from handgraph.vision import BranchFeatureEncoder, FeatureEncoder, decode_heatmaps


class Detection(NamedTuple):
    """Output of the generator: (u, v) in [-1, 1] ``[B, J, 2]``, feature map, heatmaps."""

    uv: Tensor
    features: Tensor
    heatmaps: Tensor


class Output(NamedTuple):
    """Pose ``[B, J, 3]``: (u, v) in [-1, 1], d; branch poses ``[B, N, K, 3]`` if any; heatmaps."""

    pose: Tensor
    partial: Tensor | None
    heatmaps: Tensor


class PoseNet(nn.Module):
    """Detect joints in an image (``generator``), then lift them to 3D (``lifter``)."""

    def __init__(self, generator: nn.Module, lifter: nn.Module):
        super().__init__()
        self.generator, self.lifter = generator, lifter

    def detect(self, image: Tensor) -> Detection:
        """Find the joints in images ``[B, 3, S, S]``."""
        heatmaps, features = self.generator(image)
        return detection(heatmaps, features)

    def forward(self, image: Tensor) -> Output:
        """Map images ``[B, 3, S, S]`` to poses."""
        found = self.detect(image)
        return Output(*self.lifter(found), found.heatmaps)


def detection(heatmaps: Tensor, features: Tensor) -> Detection:
    """Decode heatmaps by argmax, which has no gradient (decision 20)."""
    uv, image_size = decode_heatmaps(heatmaps.float())[0], 4 * heatmaps.shape[-1]
    return Detection(normalize_uv(uv, image_size), features, heatmaps)


class PSJNetLifter(nn.Module):
    """The graph part: branches and merger, each with feature encoders of its own.

    Args:
        in_channels: Channels of the feature map.
        removal: The joints that each branch removes; the paper's sets by default.
        branches: Map 2D joints and features ``[B, N, K, 4]`` to ``[B, N, K, 3]``.
        merge: Merges the branch poses; its ``feature_shape`` is the shape of its features.
        encoder_channels: Width of the feature encoders.
        refine_uv: Whether the network refines (u, v) of the heatmaps (decision 22).
    """

    def __init__(
        self,
        in_channels: int = 256,
        removal: RemovalSets | None = None,
        branches: nn.Module | None = None,
        merge: Merger | None = None,
        *,
        encoder_channels: int = 256,
        refine_uv: bool = True,
    ):
        super().__init__()
        removal = RemovalSets.by_level(HAND) if removal is None else removal
        size = {"hidden_channels": encoder_channels}
        self.refine_uv = refine_uv
        self.split = SubgraphMask(removal)
        self.encode = BranchFeatureEncoder(in_channels, 2, removal, **size)
        self.branches = AdaptiveGraphUNet(4, 3, removal) if branches is None else branches
        self.merge = GraphMerger(3, 3, removal, feature_channels=3) if merge is None else merge
        wanted = self.merge.feature_shape
        self.merge_encode = FeatureEncoder(in_channels, *wanted, **size) if wanted[1] else None

    def branch_poses(self, found: Detection) -> Tensor:
        """Lift the joints that each branch keeps. ``[B, N, K, 3]``."""
        features = self.encode(found.features)
        return self.branches(torch.cat([self.split(found.uv), features], dim=-1))

    def merged(self, partial: Tensor, found: Detection) -> Tensor:
        """Merge the branches' poses. ``[B, J, 3]``."""
        encode = self.merge_encode
        pose = self.merge(partial, None if encode is None else encode(found.features))
        return pose if self.refine_uv else torch.cat([found.uv, pose[..., 2:]], dim=-1)

    def forward(self, found: Detection) -> tuple[Tensor, Tensor]:
        """Return the pose ``[B, J, 3]`` and those of the branches ``[B, N, K, 3]``."""
        partial = self.branch_poses(found)
        return self.merged(partial, found), partial
