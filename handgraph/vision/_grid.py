"""Conversion between heatmap pixels and image pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import check_between, check_floating, check_positive


class Grid(NamedTuple):
    """Map heatmap pixel (x, y) to image pixel ``scale * (x, y) + first``."""

    scale: tuple[float, float]
    first: float

    def to_image(self, xy: Tensor) -> Tensor:
        """Convert heatmap pixels ``[*, 2]`` to image pixels."""
        return xy * xy.new_tensor(self.scale) + self.first

    def to_map(self, uv: Tensor) -> Tensor:
        """Convert image pixels ``[*, 2]`` to heatmap pixels."""
        return (uv - self.first) / uv.new_tensor(self.scale)


def make_grid(
    size: tuple[int, int], stride: int, offset: float | None, align_corners: bool
) -> Grid:
    """Build the grid of heatmaps of size (height, width)."""
    check_positive(stride, "stride")
    if offset is not None:
        check_between(offset, "offset")
    height, width = size
    if align_corners:
        scale = _aligned_scale(width, stride), _aligned_scale(height, stride)
        return Grid(scale, 0.0 if offset is None else offset)
    return Grid((stride, stride), (stride - 1) / 2 if offset is None else offset)


def _aligned_scale(pixels: int, stride: int) -> float:
    """Return image pixels per heatmap pixel if the first and last pixels of both coincide."""
    return (stride * pixels - 1) / (pixels - 1) if pixels > 1 else stride


def check_heatmaps(heatmaps: Tensor) -> Tensor:
    """Raise unless the maps are floating point and not empty; convert half precision to float32."""
    check_floating(heatmaps, "heatmaps")
    if heatmaps.dim() < 2 or 0 in heatmaps.shape[-2:]:
        raise ValueError(f"expected heatmaps [*, H, W] with H, W >= 1, got {list(heatmaps.shape)}")
    return heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32))


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y and value of the first maximum of each map, each ``[*]``."""
    width = heatmaps.shape[-1]
    peak, index = heatmaps.flatten(-2).max(dim=-1)
    return index % width, index.div(width, rounding_mode="floor"), peak
