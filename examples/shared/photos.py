"""Cameras, folders and joint names for the examples that estimate hands in images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from handgraph import HAND


def name_joints(values: Tensor) -> dict[str, object]:
    """Return values by joint name, rounded to four decimals."""
    return dict(zip(HAND.joints, values.double().round(decimals=4).tolist(), strict=True))


def camera(focal: float, image: Tensor) -> Tensor:
    """Return the camera matrix of a focal length in pixels, centred in an image ``[3, H, W]``."""
    height, width = image.shape[-2:]
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def folders(images: Sequence[Path]) -> list[Path]:
    """Return a folder for each image: its stem, with parents and suffix if stems are not unique.

    An image that is given twice has one folder.
    """
    files = [Path(os.path.abspath(path)) for path in images]
    common = os.path.commonpath([file.parent for file in files])
    inside = [file.relative_to(common) for file in files]
    for names in ([Path(file.stem) for file in inside], [file.with_suffix("") for file in inside]):
        if len(set(names)) == len(set(files)):
            return names
    return inside
