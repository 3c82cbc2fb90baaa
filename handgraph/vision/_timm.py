"""Create timm models by name."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import nn


def is_hrnet(name: str) -> bool:
    """Return whether timm has an HRNet of this name, ignoring the tag of the weights."""
    return name.partition(".")[0] in _timm().list_models(module="hrnet")


def create(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """Create a model that returns feature maps and has no classifier."""
    timm = _timm()
    if not timm.is_model(name):
        raise ValueError(
            f"backbone: expected an HRNet of timm ({', '.join(timm.list_models(module='hrnet'))}), "
            f"or another timm model (lcnet_050, mobilenetv4_conv_small, resnet18, ...), "
            f"got {name!r}"
        )
    try:
        net: nn.Module = timm.create_model(
            name, pretrained=pretrained, features_only=True, **options
        )
    except OSError as error:
        raise RuntimeError(
            f"could not download the ImageNet weights of {name!r}: are you offline? "
            "Use pretrained=False for random weights, or call load_pose_checkpoint to load a file"
        ) from error
    return net


def levels(body: nn.Module, name: str, strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return indices and channels of a model's features at these strides."""
    info: Any = body.feature_info
    index = {stride: n for n, stride in enumerate(info.reduction())}
    if not set(strides) <= set(index):
        raise ValueError(
            f"backbone: expected a model with features at strides {', '.join(map(str, strides))}, "
            f"such as resnet18, got {name!r} with strides {', '.join(map(str, index))}"
        )
    found = [index[stride] for stride in strides]
    return found, [info.channels()[level] for level in found]


def reparameterize(net: nn.Module) -> nn.Module:
    """Replace the training branches of models such as RepViT by equal single convolutions."""
    out: nn.Module = _timm().utils.reparameterize_model(net)
    return out.to(next(net.parameters()))  # new layers may be float32 and on the CPU


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ImportError("HeatmapGenerator needs timm: pip install 'handgraph[vision]'") from error
    return timm
