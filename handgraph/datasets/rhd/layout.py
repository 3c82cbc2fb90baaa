"""File layout of RHD: file names, rows of hands, mask classes and depth encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from handgraph.skeletons import RHD

SPLITS = ("training", "evaluation")
"""The two published splits."""

FOLDERS = {"image": "color", "mask": "mask", "depth": "depth"}
"""Folder of the files of each entry."""

LEFT_ROWS = slice(0, RHD.num_joints)
"""Rows of the left hand in an annotation."""

RIGHT_ROWS = slice(RHD.num_joints, 2 * RHD.num_joints)
"""Rows of the right hand."""

NUM_CLASSES = 34
"""Mask classes: background, person, 16 parts of the left hand, 16 of the right hand."""

DEPTH_RANGE = 5.0
"""Depth in metres that the largest value of a depth image encodes."""

_LEFT_CLASSES, _RIGHT_CLASSES = slice(2, 18), slice(18, 34)
_STEPS = 65535


def check_split(split: str) -> None:
    """Raise unless ``split`` is a split of RHD."""
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}")


def annotation_file(folder: Path) -> Path:
    """Return the path of the annotations of a split.

    Example:
        >>> annotation_file(Path("RHD/training")).as_posix()
        'RHD/training/anno_training.pickle'
    """
    return folder / f"anno_{folder.name}.pickle"


def image_file(folder: Path, entry: str, sample: int) -> Path:
    """Return the path of one entry of a sample.

    Example:
        >>> image_file(Path("RHD/training"), "image", 7).as_posix()
        'RHD/training/color/00007.png'
    """
    return folder / FOLDERS[entry] / file_name(sample)


def file_name(sample: int) -> str:
    """Return the file name of a sample, the same in all folders.

    Example:
        >>> file_name(7)
        '00007.png'
    """
    return f"{sample:05d}.png"


def hand_pixels(mask: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the pixels of the left hand and of the right hand.

    Example:
        >>> hand_pixels(np.array([[0, 1, 2], [17, 18, 33], [33, 0, 0]], dtype=np.uint8))
        (2, 3)
    """
    count = np.bincount(mask.ravel(), minlength=NUM_CLASSES)
    return int(count[_LEFT_CLASSES].sum()), int(count[_RIGHT_CLASSES].sum())


def swap_hands(mask: Tensor) -> Tensor:
    """Swap the mask classes of left and right hand.

    Mirroring a mask requires this.

    Example:
        >>> import torch
        >>> swap_hands(torch.tensor([0, 1, 2, 17, 18, 33], dtype=torch.uint8)).tolist()
        [0, 1, 18, 33, 2, 17]
    """
    left = (mask >= _LEFT_CLASSES.start) & (mask < _LEFT_CLASSES.stop)
    right = (mask >= _RIGHT_CLASSES.start) & (mask < _RIGHT_CLASSES.stop)
    shift = _RIGHT_CLASSES.start - _LEFT_CLASSES.start
    return (mask + shift).where(left, (mask - shift).where(right, mask))


def decode_depth(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    r"""Decode depth in metres from red and green: :math:`5 (256 R + G) / 65535`.

    Shapes:
        pixels ``[H, W, 3]`` -> ``[H, W]``.

    Example:
        >>> decode_depth(np.array([[[255, 255, 0], [51, 51, 0]]], dtype=np.uint8)).tolist()
        [[5.0, 1.0]]
    """
    steps = 256 * pixels[..., 0].astype(np.int64) + pixels[..., 1]
    return (DEPTH_RANGE * steps / _STEPS).astype(np.float32)


def encode_depth(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Encode depth in metres as red and green, rounded to 1/65535 of 5 m (0.08 mm).

    Shapes:
        depth ``[H, W]`` -> ``[H, W, 3]``.

    Example:
        >>> encode_depth(np.array([[5.0, 1.0]], dtype=np.float32)).tolist()
        [[[255, 255, 0], [51, 51, 0]]]
    """
    steps = np.rint(depth.astype(np.float64) * _STEPS / DEPTH_RANGE).astype(np.int64)
    return np.stack([steps // 256, steps % 256, np.zeros_like(steps)], axis=-1).astype(np.uint8)
