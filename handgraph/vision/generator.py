"""The 2D heatmap generator: a backbone with one map for each joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from handgraph._check import check_count, check_device
from handgraph.vision._checkpoint_file import Checkpoint, read_checkpoint
from handgraph.vision._heads import HEADS, concatenate, make_head, reset_head
from handgraph.vision._hrnet import HRNet
from handgraph.vision._images import check_images, to_unit_range
from handgraph.vision._loading import TAKEN, LoadedCheckpoint, load
from handgraph.vision._pyramid import Pyramid
from handgraph.vision._timm import is_hrnet


class HeatmapGenerator(nn.Module):
    r"""Predict a heatmap for each joint, and give the feature map that the encoders work on.

    The paper's first module (section 2, Fig. 2; section 3.1: HRNet-W32): timm's HRNet, and on its
    branch of highest resolution one 1x1 convolution, as Sun et al. (CVPR 2019) have it for human
    poses. The feature map is the output of ``layer1``, the only one that has Table 1's size,
    256 x 64 x 64 at 256 x 256 pixels (decision 1). Layers that neither needs are removed, so that
    each parameter has a gradient: HRNet-W32 has 28.54 M of them, the head 33 a joint.

    Other nets of timm are faster: they get a top-down pyramid (Lin et al., CVPR 2017) of 64
    channels, which brings their features to the same resolution. Heatmaps and encoders then work on
    the same map. :doc:`/benchmarks` has parameters, operations and times.

    The normalisation of the images is inside: ImageNet's, or that of timm's weights for the
    backbone. What enters is checked: uint8 images cannot be wrong; floating-point ones must lie in
    [0, 1], which takes a pass over them (on a GPU, a wait), and is left out under ``torch.compile``
    and ``torch.export``. Give uint8 images where you can.

    Args:
        num_joints: J, the number of heatmaps.
        backbone: Any HRNet of timm by name: ``"hrnet_w32"``, ``"hrnet_w48"``,
            ``"hrnet_w18_small"`` (128 feature channels instead of 256), ...; or any of its nets
            with features of strides 4, 8, 16 and 32 (64 feature channels): ``"lcnet_050"``,
            ``"mobilenetv4_conv_small"``, ``"resnet18"``, ``"repvit_m0_9"``, ...
        pretrained: Whether to start from timm's ImageNet weights, which are downloaded once. For
            weights of human or hand poses see :meth:`from_checkpoint` and
            :func:`load_pose_checkpoint`.
        head: ``"conv"``: one 1x1 convolution on the branch of highest resolution. ``"concat"``, of
            HRNets only: all four branches, enlarged and concatenated, a 1x1 convolution, batch
            norm, ReLU and a 1x1 convolution. This is HRNetV2 (Sun et al., 2019), as mmpose's hand
            nets have it; inside of the backbone too low resolutions are enlarged bilinearly then.

    Attributes:
        feature_channels: Channels of the feature map, the encoders' ``in_channels``.
        stride: Image pixels per heatmap pixel, 4.
        grid: Where heatmap pixels lie in the image: arguments of :func:`decode_heatmaps` and
            :func:`gaussian_heatmaps`. Loading the head of a published net sets it. It is not in the
            ``state_dict``.
        loaded: What :func:`load_pose_checkpoint` took and left, ``None`` before.

    Shapes:
        - images: ``[B, 3, H, W]``, H and W multiples of 32
        - output: heatmaps ``[B, J, H/4, W/4]``, features ``[B, feature_channels, H/4, W/4]``

    Units:
        Images in RGB: uint8, or floating point in [0, 1]; they are converted to the dtype of the
        module. Heatmaps after training on :func:`gaussian_heatmaps`: about 0 to 1.
        :func:`decode_heatmaps` gives pixels (u, v).

    Raises:
        ImportError: Without timm.
        ValueError: If there is no joint, timm has no net of this name or it lacks these strides, or
            the head is another one; in ``forward``, if the images have another shape, a side that
            is no multiple of 32, or a value outside of [0, 1].
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
        >>> uv, confidence = decode_heatmaps(heatmaps, **generator.grid)
        >>> uv.shape, confidence.shape
        (torch.Size([2, 21, 2]), torch.Size([2, 21]))
        >>> light = HeatmapGenerator(backbone="lcnet_050")
        >>> light.feature_channels, sum(p.numel() for p in light.parameters())
        (64, 308165)
    """

    stride = 4
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_joints: int = 21,
        backbone: str = "hrnet_w32",
        pretrained: bool = False,
        head: str = "conv",
    ):
        super().__init__()
        check_count("num_joints", num_joints, 1)
        if head not in HEADS:
            raise ValueError(f"head: expected one of {', '.join(HEADS)}, got {head!r}")
        self.num_joints = num_joints
        self.backbone_name = backbone
        self.head_name = head
        self.backbone = _backbone(backbone, pretrained, head)
        self.feature_channels = self.backbone.feature_channels
        self.head = make_head(head, self.backbone.out_channels, num_joints)
        self.grid: dict[str, Any] = {"stride": self.stride, "offset": None, "align_corners": False}
        self.loaded: LoadedCheckpoint | None = None
        for name in ("mean", "std"):
            values = torch.tensor(self.backbone.pretrained_cfg[name])
            self.register_buffer(name, values.view(3, 1, 1), persistent=False)
        self.reset_head()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path | Mapping[str, object],
        *,
        backbone: str | None = None,
        joints: Sequence[int] | None = None,
    ) -> HeatmapGenerator:
        """Make the net that a checkpoint of an HRNet is of, and load it, head included.

        Number of joints, form of the head and width are read off the weights.
        :func:`load_pose_checkpoint` describes formats, ``joints`` and what is checked; what it
        took and left is :attr:`loaded`. The net is in training mode: call ``eval()`` to use it.

        Args:
            checkpoint: A file that ``torch.save`` wrote, or its content.
            backbone: timm's name, where it cannot be read off the weights.
            joints: Which rows of the checkpoint's head become joints, in this order.

        Raises:
            ValueError: If the checkpoint is none of such a net, or has no head.

        Example:
            >>> from handgraph.vision import HeatmapGenerator
            >>> weights = HeatmapGenerator(21, "hrnet_w18_small", head="concat").state_dict()
            >>> generator = HeatmapGenerator.from_checkpoint(weights)
            >>> generator
            HeatmapGenerator(21, backbone='hrnet_w18_small', head='concat')
            >>> print(generator.loaded)
            took 435 tensors, left 0; head taken
        """
        found = read_checkpoint(checkpoint)
        if not found.num_joints:
            raise ValueError(
                "expected a checkpoint with a head, got none: make HeatmapGenerator(backbone=...), "
                "and load the backbone alone by load_pose_checkpoint"
            )
        count = found.num_joints if joints is None else len(joints)
        generator = cls(count, backbone or found.backbone, head=found.head_name)
        report = load_into(generator, found, joints)
        if report.head != TAKEN:
            raise ValueError(f"expected a head that HeatmapGenerator has, got {report.head}")
        return generator

    def reset_head(self) -> None:
        """Draw the head anew, so small that all heatmaps start near zero, as most of them is."""
        reset_head(self.head)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give heatmaps and features."""
        check_images(images)
        check_device(images, self.mean, "images")
        x = (to_unit_range(images, self.mean.dtype) - self.mean) / self.std
        branches, features = self.backbone(x)
        return self.head(concatenate(branches)), features

    def __repr__(self) -> str:
        """Joints, backbone and head; the layers are in ``backbone`` and ``head``."""
        head = "" if self.head_name == "conv" else f", head={self.head_name!r}"
        return f"HeatmapGenerator({self.num_joints}, backbone={self.backbone_name!r}{head})"


def load_into(
    generator: HeatmapGenerator, found: Checkpoint, joints: Sequence[int] | None
) -> LoadedCheckpoint:
    """Load a checkpoint, and with its head the place of its heatmaps."""
    generator.loaded = load(generator, generator.backbone_name, found, joints)
    if generator.loaded.head == TAKEN and found.grid is not None:
        generator.grid = dict(found.grid)
    return generator.loaded


def _backbone(name: str, pretrained: bool, head: str) -> HRNet | Pyramid:
    if is_hrnet(name):
        return HRNet(name, pretrained, all_branches=head == "concat")
    if head == "concat":
        raise ValueError(f"head: expected 'conv' for {name!r}, 'concat' is for HRNets")
    return Pyramid(name, pretrained)
