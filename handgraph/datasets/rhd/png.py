"""PNG files as arrays, with Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 2**25
"""A file of some kilobytes may ask for gigabytes."""

_MODES = {"image": "RGB", "mask": "L", "depth": "RGB"}


def import_pillow() -> ModuleType:
    """Give ``PIL.Image``, or say which extra brings it."""
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
    """Read the pixels of one entry of a sample; the file's checksums are checked.

    Args:
        path: The file.
        entry: ``"image"``, ``"mask"`` or ``"depth"``.
        sample: Whose it is, for messages.
        shape: Height and width that it must have.

    Shapes:
        output: ``[H, W, 3]``, of a mask ``[H, W]``.

    Raises:
        ValueError: If there is no such file, it is no whole PNG file, or not one as RHD has it.
    """
    opener = import_pillow().open
    try:
        content = path.read_bytes()
        opener(io.BytesIO(content), formats=["PNG"]).verify()  # the decoder skips the checksums
        image = opener(io.BytesIO(content), formats=["PNG"])
        _check(image, entry, shape)
        return np.array(image)
    except Exception as error:  # whatever Pillow and zlib raise on damaged files
        raise ValueError(f"{path}: {entry} of sample {sample}: {error}") from error


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels ``[H, W]`` or ``[H, W, 3]``."""
    import_pillow().fromarray(pixels).save(path)


def _check(image: Image, entry: str, shape: tuple[int, int] | None) -> None:
    """Raise unless kind and size of the image are right, before it is decoded."""
    if image.mode != _MODES[entry]:
        raise ValueError(f"expected an image of mode {_MODES[entry]}, got {image.mode}")
    if image.height * image.width > MOST_PIXELS:
        raise ValueError(f"an image of {image.width} x {image.height} pixels is too large")
    if shape is not None and (image.height, image.width) != shape:
        height, width = shape
        raise ValueError(
            f"expected {width} x {height} pixels as the first mask has, "
            f"got {image.width} x {image.height}"
        )
