"""The 2D heatmap generator: an HRNet with one map for each joint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph._check import check_count, check_device
from handgraph.vision._hrnet import HRNet
from handgraph.vision._images import IMAGENET_MEAN, IMAGENET_STD, check_images, to_unit_range


class HeatmapGenerator(nn.Module):
    r"""Predict a heatmap for each joint, and give the feature map that the encoders work on.

    The paper's first module (section 2, Fig. 2; section 3.1: HRNet-W32): timm's HRNet, and on its
    branch of highest resolution one 1x1 convolution, as Sun et al. (CVPR 2019) have it for human
    poses. The feature map is the output of ``layer1``, the only one that has Table 1's size,
    256 x 64 x 64 at 256 x 256 pixels (decision 1). Layers that neither needs are removed, so that
    each parameter has a gradient: HRNet-W32 has 28.54 M of them, the head 33 a joint.

    ImageNet's normalisation is inside. What enters is checked: uint8 images cannot be wrong;
    floating-point ones must lie in [0, 1], which takes a pass over them (on a GPU, a wait), and is
    left out under ``torch.compile`` and ``torch.export``. Give uint8 images where you can.

    Args:
        num_joints: J, the number of heatmaps.
        backbone: Any HRNet of timm by name: ``"hrnet_w32"``, ``"hrnet_w48"``,
            ``"hrnet_w18_small"`` (128 feature channels instead of 256), ...
        pretrained: Whether to start from timm's ImageNet weights, which are downloaded once. For
            weights of human or hand poses see :func:`load_pose_checkpoint`.

    Attributes:
        feature_channels: Channels of the feature map, the encoders' ``in_channels``.
        stride: Image pixels per heatmap pixel, 4.

    Shapes:
        - images: ``[B, 3, H, W]``, H and W multiples of 32
        - output: heatmaps ``[B, J, H/4, W/4]``, features ``[B, feature_channels, H/4, W/4]``

    Units:
        Images in RGB: uint8, or floating point in [0, 1]; they are converted to the dtype of the
        module. Heatmaps after training on :func:`gaussian_heatmaps`: about 0 to 1.
        :func:`decode_heatmaps` gives pixels (u, v).

    Raises:
        ImportError: Without timm.
        ValueError: If there is no joint, or no HRNet of this name; in ``forward``, if the images
            have another shape, a side that is no multiple of 32, or a value outside of [0, 1].
        TypeError: In ``forward``, if the images are neither uint8 nor floating point.
        RuntimeError: If pretrained weights cannot be had.

    Example:
        >>> import torch
        >>> from handgraph.vision import HeatmapGenerator, decode_heatmaps
        >>> generator = HeatmapGenerator(backbone="hrnet_w18_small")
        >>> images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
        >>> heatmaps, features = generator(images)
        >>> heatmaps.shape, features.shape
        (torch.Size([2, 21, 16, 16]), torch.Size([2, 128, 16, 16]))
        >>> uv, confidence = decode_heatmaps(heatmaps)
        >>> uv.shape, confidence.shape
        (torch.Size([2, 21, 2]), torch.Size([2, 21]))
    """

    stride = 4
    mean: Tensor
    std: Tensor

    def __init__(self, num_joints: int = 21, backbone: str = "hrnet_w32", pretrained: bool = False):
        super().__init__()
        check_count("num_joints", num_joints, 1)
        self.num_joints = num_joints
        self.backbone_name = backbone
        self.backbone = HRNet(backbone, pretrained)
        self.feature_channels = self.backbone.feature_channels
        self.head = nn.Conv2d(self.backbone.out_channels, num_joints, kernel_size=1)
        for name, values in {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}.items():
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw the head anew, so small that all heatmaps start near zero, as most of them is."""
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give heatmaps and features."""
        check_images(images)
        check_device(images, self.mean, "images")
        x = (to_unit_range(images, self.mean.dtype) - self.mean) / self.std
        features = self.backbone.features(x)
        return self.head(self.backbone.high_resolution(features)), features

    def __repr__(self) -> str:
        """Joints and backbone; the layers are in ``backbone`` and ``head``."""
        return f"HeatmapGenerator({self.num_joints}, backbone={self.backbone_name!r})"
