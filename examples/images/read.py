"""Read an image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

DEEPEST = 65_535
"""The largest value of 16 bits."""


def read_image(path: Path) -> Tensor:
    """Read an image as people see it: turned as its file says, on white where it is transparent.

    Returns:
        RGB, uint8, ``[3, H, W]``; 16 bits are scaled to 8.

    Raises:
        ValueError: If values are no colours: below 0, above 65535, or floating point.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I") or image.mode == "F":
            image = _scaled(image, path)
        if "A" in image.getbands() or "transparency" in image.info:
            shown = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _scaled(image: Image.Image, path: Path) -> Image.Image:
    """16 bits as 8, of which Pillow would keep the lowest values."""
    values = np.array(image)
    if image.mode == "F" or values.min() < 0 or values.max() > DEEPEST:
        raise ValueError(
            f"{path}: expected an image of 8 or 16 bits, got {values.dtype} from "
            f"{values.min():g} to {values.max():g}: scale its values to 0 to 255 first"
        )
    return Image.fromarray((values / (DEEPEST / 255)).round().astype(np.uint8))
