"""What examples write of an image: joints by name, and the camera that is assumed."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph import HAND


def name_joints(values: Tensor) -> dict[str, object]:
    """Values by the names of the joints, to four decimals."""
    return dict(zip(HAND.joints, values.double().round(decimals=4).tolist(), strict=True))


def camera(focal: float, image: Tensor) -> Tensor:
    """Camera matrix of a focal length in pixels, its centre in the middle of ``[3, H, W]``."""
    height, width = image.shape[-2:]
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
