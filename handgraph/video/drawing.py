"""Joints drawn into pixels, fast enough for each frame of a video."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from handgraph._check import check_points
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND


def draw_joints(image: Tensor, uv: Tensor, skeleton: Skeleton = HAND) -> Tensor:
    """Draw joints and edges on a copy of an image, each limb in its colour.

    :func:`handgraph.plot.draw_pose` draws figures. This function draws pixels, which is faster.
    Missing joints (NaN) and their edges are not drawn.

    Args:
        image: RGB image, uint8.
        uv: Joints.
        skeleton: Skeleton of the joints.

    Shapes:
        image ``[3, H, W]``, uv ``[J, 2]`` -> ``[3, H, W]``.

    Units:
        uv in pixels, (u, v) order.

    Raises:
        ImportError: If Pillow or matplotlib is missing (extra ``handgraph[plot]``).
        TypeError: If the image is not uint8 or uv is not floating point.
        ValueError: If a shape does not fit.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.video import draw_joints
        >>> image = torch.zeros(3, 64, 64, dtype=torch.uint8)
        >>> drawn = draw_joints(image, torch.linspace(10, 50, 21)[:, None].expand(21, 2))
        >>> drawn.shape, bool(drawn[:, 30, 30].any()), bool(drawn[:, 60, 60].any())
        (torch.Size([3, 64, 64]), True, False)
    """
    from PIL import Image, ImageDraw

    from handgraph.plot.style import edge_style, joint_styles

    if image.dtype != torch.uint8:
        raise TypeError(f"draw_joints: expected a uint8 image, got {image.dtype}")
    check_points(uv, "uv", 2)
    if image.dim() != 3 or len(image) != 3 or uv.shape != (skeleton.num_joints, 2):
        raise ValueError(
            f"draw_joints: expected an image [3, H, W] and uv [{skeleton.num_joints}, 2], "
            f"got {list(image.shape)} and {list(uv.shape)}"
        )
    canvas = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    draw, radius = ImageDraw.Draw(canvas), max(2, round(min(image.shape[1:]) / 150))
    styles, there = joint_styles(skeleton), (~uv.isnan().any(dim=-1)).tolist()
    points: list[list[float]] = uv.tolist()
    for pair in skeleton.edges:
        i, j = map(skeleton.index, pair)
        if there[i] and there[j]:
            color = edge_style(styles[i], styles[j]).color
            draw.line([*points[i], *points[j]], fill=color, width=radius)
    for (u, v), style, known in zip(points, styles, there, strict=True):
        if known:
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=style.color)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)
