"""Plots of images in pixel coordinates (u, v)."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from handgraph.plot._axes import flat_axes


def draw_image(image: Tensor, *, ax: Axes | None = None) -> Axes:
    """Draw an image as the background of poses: ``draw_pose(uv, ax=draw_image(image))``.

    Integers are pixel centres: the centre of the first pixel is at (0, 0), and the image spans -0.5
    to W - 0.5 and -0.5 to H - 0.5. The axes, and thus later artists, are clipped to it.

    Args:
        image: Image to draw.
        ax: 2D axes. Default: new axes.

    Shapes:
        image ``[3, H, W]``, RGB, uint8 or floating point

    Units:
        uint8 from 0 to 255, floats from 0 to 1. Axes in pixels: u to the right, v down.

    Raises:
        TypeError: If ``image`` is neither uint8 nor floating point.
        ValueError: If ``image`` is not ``[3, H, W]`` or a float is not from 0 to 1, or ``ax`` is
            3D.

    Example:
        >>> import torch
        >>> from handgraph.plot import draw_image
        >>> ax = draw_image(torch.rand(3, 192, 256))
        >>> [float(end) for end in (*ax.get_xlim(), *ax.get_ylim())]
        [-0.5, 255.5, 191.5, -0.5]
    """
    _check_image(image)
    ax = flat_axes(ax)
    _, height, width = image.shape
    ends = (-0.5, width - 0.5, height - 0.5, -0.5)
    pixels = image.detach().permute(1, 2, 0).cpu()
    ax.imshow((pixels if image.dtype == torch.uint8 else pixels.double()).numpy(), extent=ends)
    ax.set(xlim=ends[:2], ylim=ends[2:], xlabel="u (pixels)", ylabel="v (pixels)")
    return ax


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"expected image as torch.Tensor, got {type(image).__name__}")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"expected image as uint8 or floating point, got {image.dtype}")
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"expected image of shape [3, H, W], got {list(image.shape)}")
    if image.is_floating_point() and not ((image >= 0) & (image <= 1)).all():
        raise ValueError("expected image with floats from 0 to 1, got values outside or NaN")
