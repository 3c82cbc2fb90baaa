"""Follow a hand through a video: crop it where it was in the frame before, and smooth it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.geometry import crop_matrix, transform_points
from handgraph.geometry.crop import in_frame
from images.one_euro import OneEuro

SMALLEST = 16
"""Pixels of the longer side of the joints' box below which a hand is lost."""
KEYBONE = 50
"""Pixels that count as a keybone where one ``beta`` serves (u, v) in pixels and d in keybones."""


class Pose(NamedTuple):
    """(u, v) in pixels of the crop ``[J, 2]``, d in keybones ``[J]``, heights of the peaks."""

    uv: Tensor
    d: Tensor
    peak: Tensor


class Followed(NamedTuple):
    """A frame: its time in seconds, its pixels, and the smoothed pose in its pixels."""

    seconds: float
    image: Tensor
    pose: Pose


def follow(
    frames: Iterable[tuple[float, Tensor]],
    first_box: Callable[[Tensor], Tensor],
    estimate: Callable[[Tensor, Tensor], Pose],
    size: int,
    min_cutoff: float,
    beta: float,
) -> Iterator[Followed]:
    """Estimate the hand in each frame.

    Args:
        frames: Times in seconds and images ``[3, H, W]``.
        first_box: Gives the corners ``[2, 2]`` of what is cropped of an image where no hand has
            been found before.
        estimate: Gives the pose in an image under the map to its crop ``[3, 3]``.
        size: Side of the crop in pixels.
        min_cutoff: Of :class:`OneEuro`, in Hz.
        beta: Of :class:`OneEuro`, in Hz per pixel a second.
    """
    smooth_uv, smooth_d = OneEuro(min_cutoff, beta), OneEuro(min_cutoff, KEYBONE * beta)
    last: Tensor | None = None
    for seconds, image in frames:
        to_crop = crop_matrix(first_box(image) if last is None else last, size)
        pose = estimate(image, to_crop)
        uv = transform_points(torch.linalg.inv(to_crop), pose.uv)
        last = uv if is_there(uv, image) else None
        smooth = Pose(smooth_uv(uv, seconds), smooth_d(pose.d, seconds), pose.peak)
        yield Followed(seconds, image, smooth)


def is_there(uv: Tensor, image: Tensor) -> bool:
    """Whether joints make a box that can be followed: not tiny, and half of them in the image."""
    height, width = image.shape[1:]
    side = (uv.amax(dim=0) - uv.amin(dim=0)).max()
    return bool(side >= SMALLEST) and bool(in_frame(uv, height, width).float().mean() >= 0.5)
