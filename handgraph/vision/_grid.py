"""Where the pixels of a heatmap lie in the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import check_between, check_floating, check_positive


class Grid(NamedTuple):
    """A pixel (x, y) of the map lies at ``scale * (x, y) + first`` in the image."""

    scale: tuple[float, float]
    first: float

    def to_image(self, xy: Tensor) -> Tensor:
        """Image pixels of heatmap pixels ``[*, 2]``."""
        return xy * xy.new_tensor(self.scale) + self.first

    def to_map(self, uv: Tensor) -> Tensor:
        """Heatmap pixels of image pixels ``[*, 2]``."""
        return (uv - self.first) / uv.new_tensor(self.scale)


def make_grid(
    size: tuple[int, int], stride: int, offset: float | None, align_corners: bool
) -> Grid:
    """Build the grid of a map of size (height, width)."""
    check_positive(stride, "stride")
    if offset is not None:
        check_between(offset, "offset")
    height, width = size
    if align_corners:
        scale = _between_ends(width, stride), _between_ends(height, stride)
        return Grid(scale, 0.0 if offset is None else offset)
    return Grid((stride, stride), (stride - 1) / 2 if offset is None else offset)


def _between_ends(pixels: int, stride: int) -> float:
    """Image pixels per heatmap pixel, if the first and the last pixel meet."""
    return (stride * pixels - 1) / (pixels - 1) if pixels > 1 else stride


def check_heatmaps(heatmaps: Tensor) -> Tensor:
    """Raise unless these are maps with a pixel; give them in float32 at least."""
    check_floating(heatmaps, "heatmaps")
    if heatmaps.dim() < 2 or 0 in heatmaps.shape[-2:]:
        raise ValueError(f"expected heatmaps [*, H, W] with a pixel, got {list(heatmaps.shape)}")
    return heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32))


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first highest pixel of each map as x, y, and its value, each ``[*]``."""
    width = heatmaps.shape[-1]
    peak, index = heatmaps.flatten(-2).max(dim=-1)
    return index % width, index.div(width, rounding_mode="floor"), peak
