"""timm models whose features of the lowest resolution are upsampled by the head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from handgraph.vision._norms import fold_norms
from handgraph.vision._timm import create, levels, reparameterize


class Deep(nn.Module):
    """A timm model that returns its features at strides 32 and 4.

    Args:
        name: Name of the model in timm.
        pretrained: Whether to start from ImageNet weights.
    """

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        self.body = create(name, pretrained)
        self.pretrained_cfg: dict[str, Any] = self.body.pretrained_cfg  # type: ignore[assignment]
        self.levels, channels = levels(self.body, name, (4, 32))
        self.feature_channels, last = channels
        self.out_channels = [last]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the stride-32 map as the only branch, and the stride-4 map."""
        maps = self.body(x)
        high, low = (maps[level] for level in self.levels)
        return [low], high

    def fused(self) -> Deep:
        """Fold the batch norms, and the training branches of models that have them."""
        self.body = reparameterize(self.body)
        fold_norms(self)
        return self
