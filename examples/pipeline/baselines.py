"""The baselines of PSJNet, its controls, and its literal readings.

HopeNet (Doosti et al., CVPR 2020) lifts the 2D joints with one graph U-Net. Cai et al. (ECCV 2018)
keep the 2D joints and regress their depths from heatmaps and features. In training, a decoder
predicts the depth map from heatmaps and depths.
"""

import torch
from torch import Tensor, nn

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, NodePool
from handgraph.vision import FeatureEncoder
from psjnet import Detection


class HopeNetLifter(nn.Module):
    """One graph U-Net on all joints; with ``in_channels``, also on image features (decision 30)."""

    def __init__(
        self, in_channels: int | None = None, channels: int = 4, encoder_channels: int = 256
    ):
        super().__init__()
        self.unet = AdaptiveGraphUNet(2 if in_channels is None else 4, 3, HAND, channels=channels)
        self.encode = None
        if in_channels is not None:
            size = {"hidden_channels": encoder_channels}
            self.encode = FeatureEncoder(in_channels, HAND.num_joints, 2, **size)

    def forward(self, found: Detection) -> tuple[Tensor, None]:
        """Return the pose ``[B, J, 3]``, and ``None`` for the branches."""
        x = found.uv
        if self.encode is not None:
            x = torch.cat([x, self.encode(found.features)], dim=-1)
        return self.unet(x), None


class CaiLifter(nn.Module):
    """Regress depth from features and heatmaps by convolutions and three linear layers."""

    def __init__(self, in_channels: int = 256):
        super().__init__()
        joints = HAND.num_joints
        self.regress = nn.Sequential(
            conv(in_channels + joints, 128, stride=2),
            conv(128, 128, stride=2),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, joints),
        )
        self.regularizer = DepthMapDecoder(joints)

    def forward(self, found: Detection) -> tuple[Tensor, None]:
        """Return the pose ``[B, J, 3]`` of detected 2D joints and d, and ``None`` for branches."""
        d = self.regress(torch.cat([found.features, found.heatmaps], dim=1))
        return torch.cat([found.uv, d.unsqueeze(-1).to(found.uv)], dim=-1), None


class DepthMapDecoder(nn.Module):
    """Predict the depth map ``[B, H, W]`` from heatmaps ``[B, J, H, W]`` and depths ``[B, J]``.

    Used in training only: its loss makes depths agree with the depth map at and around each joint.
    """

    def __init__(self, num_joints: int, channels: int = 64):
        super().__init__()
        self.draw = nn.Sequential(
            conv(2 * num_joints, channels),
            conv(channels, channels, stride=2),
            conv(channels, channels),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            conv(channels, channels),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(self, heatmaps: Tensor, d: Tensor) -> Tensor:
        """Multiply the heatmaps by the depths, and decode the depth map."""
        placed = heatmaps * d[..., None, None]
        return self.draw(torch.cat([heatmaps, placed], dim=1)).squeeze(1)


class PoseMachine(nn.Module):
    """A convolutional pose machine (Wei et al., CVPR 2016), the literal generator of Cai et al.

    The stages follow a trunk of stride 8. Each takes the features and the previous stage's
    heatmaps. Heatmaps and features are resized to stride 4, as in ``HeatmapGenerator``.
    """

    def __init__(self, num_joints: int = 21, num_stages: int = 3):
        super().__init__()
        self.feature_channels = 128
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        widths = [(3, 64), (64, 64), None, (64, 128), (128, 128), None, (128, 256), (256, 256)]
        widths += [(256, 256), (256, 256), None, (256, 512), (512, 512), (512, 256), (256, 128)]
        self.trunk = nn.Sequential(*(nn.MaxPool2d(2) if w is None else conv(*w) for w in widths))
        first = [conv(128, 128), conv(128, 128), conv(128, 512, size=1)]
        self.stages = nn.ModuleList([nn.Sequential(*first, nn.Conv2d(512, num_joints, 1))])
        for _ in range(num_stages - 1):
            wide = [conv(width, 128, size=7) for width in (128 + num_joints, 128, 128, 128, 128)]
            head = [conv(128, 128, size=1), nn.Conv2d(128, num_joints, 1)]
            self.stages.append(nn.Sequential(*wide, *head))

    def all_stages(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return all heatmaps ``[S, B, J, H/4, W/4]`` and the features ``[B, 128, H/4, W/4]``."""
        image = image.float() / 255 if image.dtype == torch.uint8 else image
        features = self.trunk(2 * image - 1)
        maps = [self.stages[0](features)]
        for stage in self.stages[1:]:
            maps.append(stage(torch.cat([features, maps[-1]], dim=1)))
        return torch.stack([self.upsample(each) for each in maps]), self.upsample(features)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the heatmaps of the last stage, and the features."""
        heatmaps, features = self.all_stages(image)
        return heatmaps[-1], features


class FeatureNodes(nn.Module):
    """Branches whose features are additional nodes, not channels (decision 6, literal).

    Replaces the branches of :class:`PSJNetLifter`. All sets must remove the same number of joints.
    """

    def __init__(self, removal: RemovalSets, channels: int = 4):
        super().__init__()
        nodes = removal.num_nodes
        graph = RemovalSets.none(Skeleton.edgeless(2 * nodes), len(removal))
        self.unet = AdaptiveGraphUNet(2, 3, graph, channels=channels)
        self.pool = NodePool(2 * nodes, nodes, node_mask=graph.node_mask)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[*, N, K, 2 + 2]`` to ``[*, N, K, 3]``."""
        return self.pool(self.unet(torch.cat(x.chunk(2, dim=-1), dim=-2)))


def conv(in_channels: int, out_channels: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Build a convolution, a batch norm and a ReLU."""
    layer = nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU())
