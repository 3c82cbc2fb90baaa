"""Heads that predict heatmaps from the feature maps of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

HEADS = ("conv", "concat", "deconv")

LAST = {"conv": "head", "concat": "head.3", "deconv": "head.9"}
"""Name of the last layer of each head."""

DECONV_WIDTH = 256
"""Channels of the transposed convolutions of Simple Baselines."""


def make_head(kind: str, channels: list[int], num_joints: int) -> nn.Module:
    """Build a head: one 1x1 convolution, two, or one after three transposed convolutions."""
    width = sum(channels)
    if kind == "conv":
        return nn.Conv2d(width, num_joints, 1)
    if kind == "concat":
        return nn.Sequential(
            *_norm_relu(nn.Conv2d(width, width, 1)), nn.Conv2d(width, num_joints, 1)
        )
    layers: list[nn.Module] = []
    for before in (width, DECONV_WIDTH, DECONV_WIDTH):
        layers += _norm_relu(
            nn.ConvTranspose2d(before, DECONV_WIDTH, 4, stride=2, padding=1, bias=False)
        )
    return nn.Sequential(*layers, nn.Conv2d(DECONV_WIDTH, num_joints, 1))


def _norm_relu(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]


def reset_head(head: nn.Module) -> None:
    """Reset the head to small weights, so that heatmaps start near zero like most targets."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.001)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()


def concatenate(branches: list[Tensor]) -> Tensor:
    """Upsample all branches bilinearly to the size of the first, and concatenate their channels."""
    size = branches[0].shape[-2:]
    others = [interpolate(x, size, mode="bilinear") for x in branches[1:]]
    return torch.cat([branches[0], *others], dim=1) if others else branches[0]
