"""timm's HRNet, reduced to the branches that the head uses."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from handgraph.vision._norms import fold_norms
from handgraph.vision._timm import create

LAYERS = (
    *("conv1", "bn1", "act1", "conv2", "bn2", "act2", "layer1"),
    *("transition1", "stage2", "transition2", "stage3", "transition3", "stage4"),
)


class HRNet(nn.Module):
    """Layers of a timm HRNet that compute its branches.

    Layer names are those of timm, the official code and mmpose. The forward pass is written out
    and uses no hooks.

    Args:
        name: Name of the model in timm.
        pretrained: Whether to start from ImageNet weights.
        all_branches: Whether to return all four branches and fuse them with bilinear upsampling
            (HRNetV2; Sun et al., 2019). Otherwise only the highest-resolution branch is returned,
            and fusion upsamples by nearest neighbour (HRNet).
    """

    conv1: nn.Module
    bn1: nn.Module
    act1: nn.Module
    conv2: nn.Module
    bn2: nn.Module
    act2: nn.Module
    layer1: nn.Sequential
    transition1: nn.ModuleList
    stage2: nn.Module
    transition2: nn.ModuleList
    stage3: nn.Module
    transition3: nn.ModuleList
    stage4: nn.Sequential

    def __init__(self, name: str, pretrained: bool, all_branches: bool = False):
        super().__init__()
        net = create(name, pretrained, feature_location="", out_indices=(1,))
        for layer in LAYERS:
            self.add_module(layer, getattr(net, layer))
        last = self.stage4[-1]
        if all_branches:
            _upsample_bilinearly(self)
        else:
            last.fuse_layers = last.fuse_layers[:1]  # type: ignore[index]
        self.feature_channels: int = self.layer1[-1].conv3.out_channels  # type: ignore
        self.out_channels: list[int] = last.get_num_in_chs()[: len(last.fuse_layers)]  # type: ignore
        self.pretrained_cfg: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the branches, from high to low resolution, and the feature map of Table 1."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        features = self.layer1(x)
        branches = self.stage2([transition(features) for transition in self.transition1])
        branches = self.stage3(_add_branch(self.transition2, branches))
        return self.stage4(_add_branch(self.transition3, branches)), features

    def fused(self) -> HRNet:
        """Fold the batch norms."""
        fold_norms(self)
        return self


def _add_branch(transitions: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    """Apply the transitions, the last of which derives a new branch from the lowest resolution."""
    inputs = [*branches, branches[-1]]
    return [transition(x) for transition, x in zip(transitions, inputs, strict=True)]


def _upsample_bilinearly(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", False
