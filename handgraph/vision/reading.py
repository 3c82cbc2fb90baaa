"""Reading of image files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

DEEPEST = 65_535
"""Largest value of 16 bits."""


def read_image(path: str | Path) -> Tensor:
    """Read an image file as it is displayed, as input of :class:`HeatmapGenerator`.

    The image is rotated as its EXIF data requires. Transparent pixels are blended with white, and
    16-bit values are scaled to 8 bits.

    Args:
        path: A file of any format of Pillow.

    Shapes:
        output ``[3, H, W]``, RGB, uint8.

    Raises:
        ImportError: If Pillow is missing (extra ``handgraph[vision]``).
        OSError: If the file cannot be opened or is not an image.
        ValueError: If its values are floating point, or integers below 0 or above 65535.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> from handgraph.vision import read_image
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("RGB", (3, 2), (255, 128, 0)).save(Path(folder, "a.png"))
        ...     image = read_image(Path(folder, "a.png"))
        >>> image.shape, image[:, 0, 0].tolist()
        (torch.Size([3, 2, 3]), [255, 128, 0])
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("read_image needs Pillow: pip install 'handgraph[vision]'") from error

    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_scaled(image, path))
        if "A" in image.getbands() or "transparency" in image.info:
            shown = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _scaled(image: Image, path: str | Path) -> np.ndarray:
    """Scale 16-bit values to 8 bits. Pillow would keep only the lowest values."""
    values = np.array(image)
    if image.mode == "F" or values.min() < 0 or values.max() > DEEPEST:
        raise ValueError(
            f"{path}: expected an image of 8 or 16 bits, got {values.dtype} from "
            f"{values.min():g} to {values.max():g}: scale its values to 0 to 255 first"
        )
    return (values / (DEEPEST / 255)).round().astype(np.uint8)
