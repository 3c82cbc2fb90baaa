"""Features of each joint, sampled at its position in the feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from handgraph._check import check_device, check_points, check_positive, check_sizes
from handgraph.nn.composed import Composed
from handgraph.vision.encoder import check_features


class JointFeatureSampler(Composed):
    r"""Sample a feature map at each joint's 2D position and apply a linear layer.

    .. math:: y_j = W f(u_j, v_j) + b

    where f is interpolated bilinearly between the pixels of the map. This is an alternative to
    :class:`FeatureEncoder`, whose average over the map loses positions (decision 3). A joint
    outside the map gets the features of the nearest border pixels. A position that is not finite
    gives NaN. The output is differentiable in ``uv``.

    For branches, pass the output to :class:`handgraph.nn.SubgraphMask`, giving ``[B, N, K, D]``.

    Args:
        in_channels: Channels of the feature map.
        out_channels: Size of each joint's vector.
        stride: Image pixels per feature map pixel.

    Shapes:
        - features: ``[B, in_channels, h, w]``
        - uv: ``[B, J, 2]``
        - output: ``[B, J, out_channels]``

    Units:
        uv in image pixels, in (u, v) order, as returned by :func:`decode_heatmaps`. Pixel x of the
        map covers the image pixels from ``stride * x`` to ``stride * x + stride - 1``.

    Raises:
        TypeError: If uv is not floating point.
        ValueError: If a size is not positive, or an input has another shape.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import SubgraphMask
        >>> from handgraph.vision import JointFeatureSampler
        >>> sample = JointFeatureSampler(256, 2)
        >>> features = sample(torch.rand(4, 256, 16, 16), 63 * torch.rand(4, 21, 2))
        >>> SubgraphMask(RemovalSets.by_level(HAND))(features).shape
        torch.Size([4, 4, 16, 2])
        >>> sum(p.numel() for p in sample.parameters())
        514
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 4):
        super().__init__()
        check_sizes(type(self).__name__, in_channels=in_channels, out_channels=out_channels)
        check_positive(stride, "stride")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, features: Tensor, uv: Tensor) -> Tensor:
        """Sample the map at uv."""
        check_features(features, self)
        check_points(uv, "uv", 2)
        check_device(uv, "uv", features)
        if uv.dim() != 3 or uv.shape[0] != features.shape[0]:
            raise ValueError(
                f"{self!r}: expected uv [{features.shape[0]}, J, 2] for features "
                f"{list(features.shape)}, got {list(uv.shape)}"
            )
        finite = uv.isfinite().all(dim=-1, keepdim=True)
        out: Tensor = self.lin(self._sample(features, uv.where(finite, 0)))
        return out.where(finite, torch.nan)

    def _sample(self, features: Tensor, uv: Tensor) -> Tensor:
        """Interpolate at finite uv; NaN crashes the backward pass of ``grid_sample``."""
        height, width = features.shape[-2:]
        grid = (2 * uv + 1) / (self.stride * uv.new_tensor([width, height])) - 1
        dtype = torch.promote_types(features.dtype, uv.dtype)  # that of uv for half features
        sampled = grid_sample(
            features.to(dtype),
            grid.unsqueeze(1).to(dtype),
            padding_mode="border",
            align_corners=False,
        )
        return sampled.squeeze(2).mT.to(features.dtype)

    def __repr__(self) -> str:
        """Return the sizes."""
        return f"JointFeatureSampler({self.in_channels}, {self.out_channels}, stride={self.stride})"
