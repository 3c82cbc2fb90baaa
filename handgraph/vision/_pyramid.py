"""A net of timm with a small top-down pyramid, for nets whose features have a low resolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from handgraph.vision._timm import create

STRIDES = (4, 8, 16, 32)

WIDTH = 64
"""Channels of the pyramid and of its feature map."""


class Pyramid(nn.Module):
    r"""One of timm's nets, and a top-down pathway that brings its features to stride 4.

    .. math:: p_{32} = L_{32}(c_{32}), \qquad p_s = L_s(c_s) + \mathrm{up}(p_{2s})

    with :math:`c_s` the net's features at stride s, :math:`L_s` a 1x1 convolution and ``up`` the
    repetition of pixels (Lin et al., "Feature pyramid networks", CVPR 2017). Only :math:`p_4` is
    smoothed, by a depthwise 3x3 and a 1x1 convolution, and used.

    Args:
        name: timm's name.
        pretrained: Whether to start from ImageNet weights.
    """

    feature_channels = WIDTH

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        self.body = create(name, pretrained)
        self.pretrained_cfg: dict[str, Any] = self.body.pretrained_cfg  # type: ignore[assignment]
        self.levels, channels = _levels(self.body, name)
        self.lateral = nn.ModuleList(nn.Conv2d(count, WIDTH, 1) for count in channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )
        self.out_channels = [WIDTH]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Give the map of stride 4, as the only branch and as features."""
        maps = self.body(x)
        sides = [lateral(maps[n]) for lateral, n in zip(self.lateral, self.levels, strict=True)]
        top = sides.pop()
        while sides:
            top = sides.pop() + interpolate(top, scale_factor=2.0)
        features = self.smooth(top)
        return [features], features


def _levels(body: nn.Module, name: str) -> tuple[list[int], list[int]]:
    """Which of the net's features have the strides of the pyramid, and how many channels."""
    info: Any = body.feature_info
    index = {stride: n for n, stride in enumerate(info.reduction())}
    if not set(STRIDES) <= set(index):
        raise ValueError(
            f"backbone: expected a net with features of strides {', '.join(map(str, STRIDES))}, "
            f"such as resnet18; {name!r} has {', '.join(map(str, index))}"
        )
    levels = [index[stride] for stride in STRIDES]
    return levels, [info.channels()[level] for level in levels]
