"""Reading and writing of PNG files with Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 2**25
"""Largest number of pixels; small files can expand to gigabytes."""

_MODES = {"image": "RGB", "mask": "L", "depth": "RGB"}


def import_pillow() -> ModuleType:
    """Import ``PIL.Image``, or raise an error that names the extra."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "the images of RHD need Pillow: pip install 'handgraph[vision]'"
        ) from error
    return Image


def read_png(
    path: Path, entry: str, sample: int, shape: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Read the pixels of one entry of a sample, and verify the file's checksums.

    Args:
        path: The file.
        entry: ``"image"``, ``"mask"`` or ``"depth"``.
        sample: Sample number, for error messages.
        shape: Expected height and width.

    Shapes:
        output: ``[H, W, 3]``, or ``[H, W]`` for a mask.

    Raises:
        ValueError: If the file does not exist, is damaged, or has the wrong mode or size.
    """
    opener = import_pillow().open
    try:
        content = path.read_bytes()
        opener(io.BytesIO(content), formats=["PNG"]).verify()  # the decoder ignores checksums
        image = opener(io.BytesIO(content), formats=["PNG"])
        _check(image, entry, shape)
        return np.array(image)
    except Exception as error:  # Pillow and zlib raise many types on damaged files
        raise ValueError(f"{path}: {entry} of sample {sample}: {error}") from error


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels ``[H, W]`` or ``[H, W, 3]``."""
    import_pillow().fromarray(pixels).save(path)


def _check(image: Image, entry: str, shape: tuple[int, int] | None) -> None:
    """Check mode and size of an image before decoding."""
    if image.mode != _MODES[entry]:
        raise ValueError(f"expected an image of mode {_MODES[entry]}, got {image.mode}")
    if image.height * image.width > MAX_PIXELS:
        raise ValueError(f"an image of {image.width} x {image.height} pixels is too large")
    if shape is not None and (image.height, image.width) != shape:
        height, width = shape
        raise ValueError(
            f"expected {width} x {height} pixels as the first mask has, "
            f"got {image.width} x {image.height}"
        )
