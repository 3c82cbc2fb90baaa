"""A hand drawn into pixels, fast enough for each frame of a video."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from handgraph import HAND
from handgraph.plot.style import joint_styles


def draw_hand(image: Tensor, uv: Tensor) -> Tensor:
    """Draw joints in pixels ``[21, 2]`` on an image ``[3, H, W]``, each finger in its colour."""
    canvas = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    draw, radius = ImageDraw.Draw(canvas), max(2, round(min(image.shape[1:]) / 150))
    points, colors = uv.tolist(), [style.color for style in joint_styles(HAND)]
    for parent, child in HAND.bones.T.tolist():
        draw.line([*points[parent], *points[child]], fill=colors[child], width=radius)
    for (u, v), color in zip(points, colors, strict=True):
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=color)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)
