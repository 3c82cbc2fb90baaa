"""Check input images and convert them to floating point."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_tensor

MULTIPLE = 32
"""Divisor of image sides: backbones halve their input five times and upsample it again."""


def check_images(images: Tensor) -> None:
    """Raise unless dtype, shape and values are those of RGB images that a backbone accepts."""
    check_tensor(images, "images")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(
            f"expected images of dtype torch.uint8, or floating point in [0, 1], got {images.dtype}"
        )
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(f"expected RGB images [B, 3, H, W], got {list(images.shape)}")
    height, width = images.shape[2:]
    if height % MULTIPLE or width % MULTIPLE or not height or not width:
        raise ValueError(
            f"expected images whose sides are multiples of {MULTIPLE}, got {height} x {width}"
        )
    if images.is_floating_point() and not torch.compiler.is_compiling():
        _check_range(images)


def _check_range(images: Tensor) -> None:
    if images.numel() == 0:
        return
    low, high = (value.item() for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # false for NaN
        raise ValueError(
            f"expected floating-point images in [0, 1] without NaN, got values from {low:g} to "
            f"{high:g}; pass images in 0 to 255 as torch.uint8"
        )


def to_unit_range(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert images to values in [0, 1] of this dtype."""
    if images.dtype == torch.uint8:
        return images.to(dtype) / 255
    return images.to(dtype)
