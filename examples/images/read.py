"""Read an image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def read_image(path: Path) -> Tensor:
    """Read an image as people see it: turned as its file says, on white where it is transparent."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits, of which convert would keep the lowest values
            image = Image.fromarray((np.array(image) / 257).round().astype(np.uint8))
        if "A" in image.getbands() or "transparency" in image.info:
            shown = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)
