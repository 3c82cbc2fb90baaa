"""The 2D heatmap generator: a backbone and a head with one heatmap per joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from handgraph._check import check_count, check_device
from handgraph.vision._checkpoint_file import Checkpoint, read_checkpoint
from handgraph.vision._deep import Deep
from handgraph.vision._heads import HEADS, concatenate, make_head, reset_head
from handgraph.vision._hrnet import HRNet
from handgraph.vision._images import check_images, to_unit_range
from handgraph.vision._loading import TAKEN, LoadedCheckpoint, load
from handgraph.vision._pyramid import Pyramid
from handgraph.vision._timm import is_hrnet


class HeatmapGenerator(nn.Module):
    r"""Predict one heatmap per joint, and return the feature map for the encoders.

    This is the paper's first module (section 2, Fig. 2; section 3.1: HRNet-W32). It is timm's HRNet
    with a 1x1 convolution on the highest-resolution branch, as in Sun et al. (CVPR 2019) for human
    poses. The feature map is the output of ``layer1``, the only one with the size of Table 1,
    256 x 64 x 64 at 256 x 256 pixels (decision 1). Unused layers are removed, so that every
    parameter has a gradient. HRNet-W32 has 28.54 M parameters, including 33 per joint in the head.

    Other timm models are faster. A top-down pyramid (Lin et al., CVPR 2017) with 64 channels
    upsamples their features to the same resolution. The head and the encoders then use the same
    feature map. :doc:`/benchmarks` lists parameters, operations and times.

    The module normalises images with the statistics of ImageNet, or of timm's weights for the
    backbone. Use uint8 images where possible. Floating-point images must lie in [0, 1]. Checking
    this takes one pass over the images, and synchronises a GPU. The check is skipped under
    ``torch.compile`` and ``torch.export``.

    Args:
        num_joints: J, the number of heatmaps.
        backbone: Name of a timm model. HRNets are ``"hrnet_w32"``, ``"hrnet_w48"``,
            ``"hrnet_w18_small"`` (128 feature channels instead of 256), ... Other models need
            features at strides 4, 8, 16 and 32 (64 feature channels): ``"lcnet_050"``,
            ``"mobilenetv4_conv_small"``, ``"resnet18"``, ``"repvit_m0_9"``, ...
        pretrained: Whether to start from timm's ImageNet weights, which are downloaded once. For
            weights trained on human or hand poses see :meth:`from_checkpoint` and
            :func:`load_pose_checkpoint`.
        head: ``"conv"``: one 1x1 convolution on the highest-resolution branch. ``"concat"`` (only
            for HRNets): all four branches, upsampled and concatenated, a 1x1 convolution, batch
            norm, ReLU and a 1x1 convolution. This is HRNetV2 (Sun et al., 2019), as in mmpose's
            hand models. The branches inside the backbone are then also fused bilinearly.
            ``"deconv"`` (not for HRNets): three transposed convolutions with 256 channels, from
            stride 32, and a 1x1 convolution. These are the Simple Baselines of Xiao et al. (ECCV
            2018). The feature map is then the model's stride-4 map, with 256 channels for
            ``"resnet50"``.

    Attributes:
        feature_channels: Channels of the feature map, the ``in_channels`` of the encoders.
        stride: Image pixels per heatmap pixel, 4.
        grid: Positions of heatmap pixels in the image, as keyword arguments of
            :func:`decode_heatmaps` and :func:`gaussian_heatmaps`. Loading a published head sets
            them. They are not part of the ``state_dict``.
        loaded: Report of the last :func:`load_pose_checkpoint`, initially ``None``.

    Shapes:
        - images: ``[B, 3, H, W]``, H and W multiples of 32
        - output: heatmaps ``[B, J, H/4, W/4]``, features ``[B, feature_channels, H/4, W/4]``

    Units:
        Images are RGB, uint8 or floating point in [0, 1], and are converted to the dtype of the
        module. Heatmaps are about 0 to 1 after training on :func:`gaussian_heatmaps`.
        :func:`decode_heatmaps` returns pixels (u, v).

    Raises:
        ImportError: If timm is not installed.
        ValueError: If ``num_joints`` is less than 1, timm has no such model, the model lacks these
            strides, or the head is unknown. In ``forward``, if the images have another shape, a
            side that is not a multiple of 32, or a value outside [0, 1].
        TypeError: In ``forward``, if the images are neither uint8 nor floating point.
        RuntimeError: If pretrained weights cannot be downloaded.

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
        check_count(num_joints, "num_joints", 1)
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
        """Create a generator from a checkpoint of an HRNet or ResNet, including its head.

        The number of joints, the form of the head and the backbone are inferred from the weights.
        :func:`load_pose_checkpoint` describes formats, ``joints`` and checks. Its report is stored
        in :attr:`loaded`. The generator is in training mode; call ``eval()`` before inference.

        Args:
            checkpoint: A file written by ``torch.save``, or its content.
            backbone: Name of the model in timm, if it cannot be inferred from the weights.
            joints: Rows of the checkpoint's head to load, in the order of the generator's joints.

        Raises:
            ValueError: If the checkpoint is not of such a model, or has no head.

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
                "expected a checkpoint with a head, got none: create HeatmapGenerator(backbone=...)"
                " and call load_pose_checkpoint to load only the backbone"
            )
        count = found.num_joints if joints is None else len(joints)
        generator = cls(count, backbone or found.backbone, head=found.head_name)
        report = load_into(generator, found, joints)
        if not report.head.startswith(TAKEN):
            raise ValueError(
                f"expected one of the heads {', '.join(HEADS)}, got another ({report.head})"
            )
        return generator

    def reset_head(self) -> None:
        """Reset the head to small weights, so that heatmaps start near zero like most targets."""
        reset_head(self.head)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmaps and features."""
        check_images(images)
        check_device(images, "images", self.mean)
        x = (to_unit_range(images, self.mean.dtype) - self.mean) / self.std
        branches, features = self.backbone(x)
        return self.head(concatenate(branches)), features

    def __repr__(self) -> str:
        """Return joints, backbone and head; the layers are in ``backbone`` and ``head``."""
        head = "" if self.head_name == "conv" else f", head={self.head_name!r}"
        return f"HeatmapGenerator({self.num_joints}, backbone={self.backbone_name!r}{head})"


def load_into(
    generator: HeatmapGenerator, found: Checkpoint, joints: Sequence[int] | None
) -> LoadedCheckpoint:
    """Load a checkpoint, and set ``grid`` if its head is loaded."""
    generator.loaded = load(generator, generator.backbone_name, found, joints)
    if generator.loaded.head.startswith(TAKEN) and found.grid is not None:
        generator.grid = dict(found.grid)
    return generator.loaded


def _backbone(name: str, pretrained: bool, head: str) -> HRNet | Pyramid | Deep:
    hrnet = is_hrnet(name)
    other = "concat" if hrnet else "deconv"
    if head not in ("conv", other):
        raise ValueError(f"head: expected 'conv' or {other!r} for {name!r}, got {head!r}")
    if hrnet:
        return HRNet(name, pretrained, all_branches=head == "concat")
    return Pyramid(name, pretrained) if head == "conv" else Deep(name, pretrained)
