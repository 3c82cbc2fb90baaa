"""Follow a hand through a video: crop it where it was in the previous frame, and smooth it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.geometry import crop_matrix, transform_points
from handgraph.geometry.crop import in_frame
from handgraph.video.one_euro import OneEuro

SMALLEST = 16
"""Longer side of the box of the joints, in pixels, below which a hand is lost."""

KEYBONE = 50
"""Pixels per keybone, so that one ``beta`` fits (u, v) in pixels and d in keybone lengths."""


class Pose(NamedTuple):
    """Pose in an image.

    Shapes:
        uv ``[J, 2]``, d ``[J]``, score ``[J]``.

    Units:
        uv in pixels, (u, v) order; d, the depth relative to the root, in keybone lengths.

    Example:
        >>> import torch
        >>> from handgraph.video import Pose
        >>> Pose(torch.zeros(21, 2), torch.zeros(21), torch.ones(21)).score.sum().item()
        21.0
    """

    uv: Tensor
    d: Tensor
    score: Tensor


class Followed(NamedTuple):
    """A frame and its smoothed pose, as returned by :func:`follow`.

    Shapes:
        image ``[3, H, W]``.

    Units:
        seconds from the start of the video; the pose in pixels of the image.

    Example:
        >>> import torch
        >>> from handgraph.video import Followed, Pose
        >>> pose = Pose(torch.zeros(21, 2), torch.zeros(21), torch.ones(21))
        >>> Followed(0.5, torch.zeros(3, 48, 64), pose).seconds
        0.5
    """

    seconds: float
    image: Tensor
    pose: Pose


def follow(
    frames: Iterable[tuple[float, Tensor]],
    first_box: Callable[[Tensor], Tensor],
    estimate: Callable[[Tensor, Tensor], Pose],
    *,
    size: int,
    min_cutoff: float = 1.0,
    beta: float = 0.02,
) -> Iterator[Followed]:
    """Estimate the hand in each frame of a video, and smooth its joints.

    The crop of the first frame is ``first_box``. The crop of each later frame is a square around
    the joints of the previous frame (:func:`handgraph.geometry.crop_matrix`). If the hand is lost
    (fewer than half of its joints lie in the image, or the longer side of their box is shorter than
    16 pixels), ``first_box`` is used again. :class:`OneEuro` smooths positions and depths.

    Args:
        frames: Times and images, such as those of :func:`read_frames`.
        first_box: Returns the corners of the box to crop, given an image.
        estimate: Returns the pose in pixels of the crop, given an image and the map to its crop.
        size: Side of the crop.
        min_cutoff: Argument of :class:`OneEuro`. A lower value smooths more.
        beta: Argument of :class:`OneEuro`. A higher value reduces the lag behind fast hands.

    Shapes:
        images ``[3, H, W]``, corners ``[2, 2]``, maps ``[3, 3]``.

    Units:
        Times in seconds, corners in pixels of the image, size in pixels of the crop, min_cutoff in
        Hz, beta in Hz per pixel per second.

    Raises:
        ValueError: If size or min_cutoff is not positive, beta is negative, or times do not
            increase.

    Example:
        >>> import torch
        >>> from handgraph.video import Pose, follow
        >>> frames = [(i / 30, torch.zeros(3, 90, 90)) for i in range(3)]
        >>> boxes = []
        >>> def first_box(image):
        ...     boxes.append(torch.tensor([[0.0, 0.0], [89.0, 89.0]]))
        ...     return boxes[-1]
        >>> def estimate(image, to_crop):
        ...     uv = torch.linspace(20, 44, 21).unsqueeze(1).expand(21, 2)
        ...     return Pose(uv, torch.zeros(21), torch.ones(21))
        >>> found = list(follow(frames, first_box, estimate, size=64))
        >>> len(found), len(boxes)
        (3, 1)
    """
    smooth_uv, smooth_d = OneEuro(min_cutoff, beta), OneEuro(min_cutoff, KEYBONE * beta)
    last: Tensor | None = None
    for seconds, image in frames:
        to_crop = crop_matrix(first_box(image) if last is None else last, size)
        pose = estimate(image, to_crop)
        uv = transform_points(torch.linalg.inv(to_crop), pose.uv)
        last = uv if _is_there(uv, image) else None
        smooth = Pose(smooth_uv(uv, seconds), smooth_d(pose.d, seconds), pose.score)
        yield Followed(seconds, image, smooth)


def _is_there(uv: Tensor, image: Tensor) -> bool:
    """Return whether the joints' box is not tiny and half of the joints lie in the image."""
    height, width = image.shape[1:]
    side = (uv.amax(dim=0) - uv.amin(dim=0)).max()
    return bool(side >= SMALLEST) and bool(in_frame(uv, height, width).float().mean() >= 0.5)
