"""The paper's feature encoder: one vector per joint from a feature map."""

from __future__ import annotations

from torch import Tensor, nn

from handgraph._check import check_sizes, check_tensor
from handgraph.nn.composed import Composed


class FeatureEncoder(Composed):
    r"""Encode a feature map as one vector per joint (Table 1 of the paper).

    ============================ ======================
    layer                        channels, at 256 x 256
    ============================ ======================
    3x3 convolution, stride 2    256 x 32 x 32
    3x3 convolution              256 x 32 x 32
    3x3 convolution              KD x 32 x 32
    global average pooling       KD
    ============================ ======================

    Each convolution is followed by batch norm and ReLU. Output channel :math:`k D + d` is entry d
    of joint k (decision 4). As published, the features are averages of a ReLU: they are never
    negative, and positions are lost. ``signed=True`` omits the last batch norm and ReLU (decision
    3). :class:`JointFeatureSampler` samples features at the position of each joint.

    Branches use encoders with D = 2, the ensemble network one with D = 3.
    :class:`BranchFeatureEncoder` holds the encoders of all branches.

    Args:
        in_channels: Channels of the feature map.
        num_joints: K, the number of joints.
        out_channels: D, the size of each joint's vector.
        hidden_channels: Channels of the hidden layers.
        signed: Whether the last convolution has a bias instead of batch norm and ReLU.

    Shapes:
        - input: ``[B, in_channels, h, w]``
        - output: ``[B, K, D]``

    Raises:
        ValueError: If a size is not positive, or the input has another number of channels.

    Example:
        >>> import torch
        >>> from handgraph.vision import FeatureEncoder
        >>> encoder = FeatureEncoder(256, 16, 2)
        >>> encoder(torch.rand(4, 256, 16, 16)).shape
        torch.Size([4, 16, 2])
        >>> sum(p.numel() for p in encoder.parameters())
        1254464
    """

    def __init__(
        self,
        in_channels: int,
        num_joints: int,
        out_channels: int,
        *,
        hidden_channels: int = 256,
        signed: bool = False,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.num_joints = num_joints
        self.out_channels = out_channels
        check_sizes(
            type(self).__name__,
            in_channels=in_channels,
            num_joints=num_joints,
            out_channels=out_channels,
            hidden_channels=hidden_channels,
        )
        self.layers = nn.Sequential(
            *trunk(in_channels, hidden_channels),
            *last_layer(hidden_channels, num_joints * out_channels, signed=signed),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Encode the feature map."""
        check_features(features, self)
        pooled = self.layers(features).mean(dim=(-2, -1))
        out: Tensor = pooled.unflatten(-1, (self.num_joints, self.out_channels))
        return out

    def __repr__(self) -> str:
        """Return the sizes; the layers are in ``layers``."""
        return f"FeatureEncoder({self.in_channels}, {self.num_joints}, {self.out_channels})"


def trunk(in_channels: int, hidden_channels: int) -> list[nn.Module]:
    """Build the first two rows of Table 1."""
    return [
        *conv_norm_relu(in_channels, hidden_channels, stride=2),
        *conv_norm_relu(hidden_channels, hidden_channels),
    ]


def last_layer(in_channels: int, out_channels: int, *, signed: bool) -> list[nn.Module]:
    """Build the third row of Table 1, or only a convolution if ``signed``."""
    if signed:
        return [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)]
    return conv_norm_relu(in_channels, out_channels)


def conv_norm_relu(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """Build a 3x3 convolution, batch norm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]


def check_features(features: Tensor, module: nn.Module) -> None:
    """Raise unless ``features`` is a feature map with the module's ``in_channels``."""
    like = next(module.parameters())
    check_tensor(features, f"features of {type(module).__name__}", like)
    if features.dim() != 4 or features.shape[1] != module.in_channels or 0 in features.shape[2:]:
        raise ValueError(
            f"{module!r}: expected features [B, {module.in_channels}, h, w], "
            f"got {list(features.shape)}"
        )
