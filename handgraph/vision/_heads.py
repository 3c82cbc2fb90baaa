"""Heads that predict heatmaps from the feature maps of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

HEADS = ("conv", "concat")


def make_head(kind: str, channels: list[int], num_joints: int) -> nn.Module:
    """Build one 1x1 convolution (``"conv"``) or HRNetV2's two on all branches (``"concat"``)."""
    width = sum(channels)
    last = nn.Conv2d(width, num_joints, kernel_size=1)
    if kind == "conv":
        return last
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(), last)


def reset_head(head: nn.Module) -> None:
    """Reset the head to small weights, so that heatmaps start near zero like most targets."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()


def concatenate(branches: list[Tensor]) -> Tensor:
    """Upsample all branches bilinearly to the size of the first, and concatenate their channels."""
    size = branches[0].shape[-2:]
    others = [interpolate(x, size, mode="bilinear") for x in branches[1:]]
    return torch.cat([branches[0], *others], dim=1) if others else branches[0]
