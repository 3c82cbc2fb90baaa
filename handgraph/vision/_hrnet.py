"""timm's HRNet, cut down to its branch of highest resolution, and run in two parts."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = (
    *("conv1", "bn1", "act1", "conv2", "bn2", "act2", "layer1"),
    *("transition1", "stage2", "transition2", "stage3", "transition3", "stage4"),
)


class HRNet(nn.Module):
    """The layers of one of timm's HRNets that lead to its branch of highest resolution.

    They have the same names as there, and as in the official code and mmpose. No hooks: the
    forward pass is written out in two parts, with the feature map between them.
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

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        net = _create(name, pretrained)
        for layer in LAYERS:
            self.add_module(layer, getattr(net, layer))
        last = self.stage4[-1]
        last.fuse_layers = last.fuse_layers[:1]  # type: ignore[index]
        self.feature_channels: int = self.layer1[-1].conv3.out_channels  # type: ignore
        self.out_channels: int = last.get_num_in_chs()[0]  # type: ignore

    def features(self, x: Tensor) -> Tensor:
        """Stem and ``layer1``: the feature map of Table 1."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        out: Tensor = self.layer1(x)
        return out

    def high_resolution(self, features: Tensor) -> Tensor:
        """Stages 2 to 4 on the feature map; their branch of highest resolution."""
        branches = self.stage2([transition(features) for transition in self.transition1])
        branches = self.stage3(_onward(self.transition2, branches))
        out: Tensor = self.stage4(_onward(self.transition3, branches))[0]
        return out


def _onward(transitions: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    """Carry the branches on; one more starts from the lowest resolution so far."""
    inputs = [*branches, branches[-1]]
    return [transition(x) for transition, x in zip(transitions, inputs, strict=True)]


def _create(name: str, pretrained: bool) -> nn.Module:
    """Ask timm for the net, without its classifier."""
    try:
        import timm
    except ImportError as error:
        raise ImportError("HeatmapGenerator needs timm: pip install 'handgraph[vision]'") from error
    names = timm.list_models(module="hrnet")
    if name.partition(".")[0] not in names:  # after the dot: which weights
        raise ValueError(f"backbone: expected an HRNet of timm ({', '.join(names)}), got {name!r}")
    try:
        net: nn.Module = timm.create_model(
            name, pretrained=pretrained, features_only=True, feature_location="", out_indices=(1,)
        )
    except OSError as error:
        raise RuntimeError(
            f"could not download the ImageNet weights of {name!r}: are you offline? "
            "pretrained=False starts from random weights, and load_pose_checkpoint loads a file"
        ) from error
    return net
