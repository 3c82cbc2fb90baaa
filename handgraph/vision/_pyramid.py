"""A small top-down pyramid for timm models without high-resolution features."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from handgraph.vision._norms import fold_norms
from handgraph.vision._timm import create, levels, reparameterize

STRIDES = (4, 8, 16, 32)

WIDTH = 64
"""Number of channels of the pyramid and its feature map."""


class Pyramid(nn.Module):
    r"""A timm model with a top-down pathway that upsamples its features to stride 4.

    .. math:: p_{32} = L_{32}(c_{32}), \qquad p_s = L_s(c_s) + \mathrm{up}(p_{2s})

    where :math:`c_s` are the model's features at stride s, :math:`L_s` is a 1x1 convolution and
    ``up`` is nearest-neighbour upsampling (Lin et al., "Feature pyramid networks", CVPR 2017). The
    output is :math:`p_4`, smoothed by a depthwise 3x3 and a 1x1 convolution.

    Args:
        name: Name of the model in timm.
        pretrained: Whether to start from ImageNet weights.
    """

    feature_channels = WIDTH

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        self.body = create(name, pretrained)
        self.pretrained_cfg: dict[str, Any] = self.body.pretrained_cfg  # type: ignore[assignment]
        self.levels, channels = levels(self.body, name, STRIDES)
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
        """Return the stride-4 map, both as the only branch and as the feature map."""
        maps = self.body(x)
        laterals = [layer(maps[n]) for layer, n in zip(self.lateral, self.levels, strict=True)]
        top = laterals.pop()
        while laterals:
            top = laterals.pop() + interpolate(top, scale_factor=2.0)
        features = self.smooth(top)
        return [features], features

    def fused(self) -> Pyramid:
        """Fold the batch norms, and the training branches of models that have them."""
        self.body = reparameterize(self.body)
        fold_norms(self)
        return self
