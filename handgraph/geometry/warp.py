"""Warping of images by affine maps, such as crops, mirrors and rotations."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from handgraph._check import check_device, check_floating, check_sides, check_tensor

MODES = ("bilinear", "nearest")


def warp_image(
    image: Tensor, A: Tensor, size: int | tuple[int, int], *, mode: str = "bilinear"
) -> Tensor:
    r"""Warp images by an affine map, which moves (u, v) to :math:`A (u, v, 1)^T`.

    Use :func:`transform_points` for joints and :func:`transform_intrinsics` for the camera. Each
    output pixel is sampled from the input by bilinear interpolation of the four nearest pixels. If
    the map shrinks the image, an output pixel is the mean of a regular grid of such samples, at
    most one input pixel apart (antialiasing). Shrinking by an integer factor thus averages blocks.
    The input is 0 outside of its borders (black, background, no depth), and bilinear samples fade
    to 0 within a pixel of the border. The number of samples depends on A, so ``torch.compile``
    needs graph breaks here.

    Args:
        image: Images. The output for uint8 images is rounded to uint8.
        A: Maps, one for each image or one for all; the last row is (0, 0, 1).
        size: Side of the output images, or their height and width.
        mode: ``"bilinear"``, or ``"nearest"`` for masks and depth, which does not interpolate.

    Shapes:
        image ``[*, C, H, W]``, A ``[*, 3, 3]`` or ``[3, 3]`` -> ``[*, C, size, size]``.

    Units:
        A: pixels of the input -> pixels of the output, (u, v) order, integers are pixel centres.

    Raises:
        TypeError: If the image is neither uint8 nor floating point, or A is not floating point.
        ValueError: If a shape or size is wrong, the mode is unknown, or a map is not affine and
            finite, has no inverse, or makes the whole image smaller than a pixel.

    Example:
        >>> import torch
        >>> from handgraph.geometry import warp_image
        >>> half = torch.tensor([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25], [0.0, 0.0, 1.0]])
        >>> image = torch.tensor([[[0, 4, 10, 10], [4, 8, 10, 30]]], dtype=torch.uint8)
        >>> warp_image(image, half, (1, 2)).tolist()  # means of two blocks
        [[[4, 15]]]
    """
    shape = check_sides(size, "size")
    _check(image, A, mode)
    flat = image.reshape(-1, *image.shape[-3:])
    back = _inverse(A).expand(*image.shape[:-3], 3, 3).reshape(-1, 3, 3)
    counts = _sample_counts(back, max(image.shape[-2:]), mode)
    output = flat.new_empty(len(flat), flat.shape[1], *shape)
    for count in set(counts):
        pick = torch.tensor([other == count for other in counts], device=image.device)
        values = _mean_of_samples(flat[pick].double(), back[pick], shape, count, mode)
        values = values if image.is_floating_point() else values.round()
        output = output.index_put((pick,), values.to(image.dtype))
    return output.reshape(*image.shape[:-2], *shape)


def _check(image: Tensor, A: Tensor, mode: str) -> None:
    """Check types and shapes of image and maps, and the mode."""
    if mode not in MODES:
        raise ValueError(f"expected mode to be one of {', '.join(MODES)}, got {mode!r}")
    check_tensor(image, "image")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"expected image to be uint8 or floating point, got {image.dtype}")
    if image.ndim < 3 or 0 in image.shape[-3:]:
        raise ValueError(f"expected image of shape [*, C, H, W], got {list(image.shape)}")
    check_floating(A, "A")
    check_device(A, "A", image)
    lead = list(image.shape[:-3])
    if list(A.shape) not in ([*lead, 3, 3], [3, 3]):
        raise ValueError(
            f"expected A of shape {[*lead, 3, 3]} (one per image) or [3, 3] (one for all), "
            f"got {list(A.shape)}"
        )


def _inverse(A: Tensor) -> Tensor:
    """Return the map from output to input pixels, in double precision."""
    A = A.double()
    back, info = torch.linalg.inv_ex(A)
    affine = (A[..., 2, :] == A.new_tensor([0.0, 0.0, 1.0])).all()
    if not affine or info.any() or not back.isfinite().all():
        raise ValueError("expected A to be affine and finite, and to have an inverse")
    inverse: Tensor = back
    return inverse


def _sample_counts(back: Tensor, side: int, mode: str) -> list[tuple[int, int]]:
    """Return the number of samples per output pixel along u and v, for each map.

    A tolerance of 0.01 pixels keeps integer factors exact.
    """
    steps = torch.linalg.vector_norm(back.detach()[:, :2, :2], dim=-2)
    if (steps > side).any():
        raise ValueError(
            f"expected A to leave more than a pixel of an image of side {side}, "
            f"got a map that shrinks by {steps.max().item():g}"
        )
    if mode == "nearest":
        return [(1, 1)] * len(steps)
    return [(u, v) for u, v in (steps - 0.01).ceil().clamp(min=1).long().tolist()]


def _mean_of_samples(
    image: Tensor, back: Tensor, shape: tuple[int, int], count: tuple[int, int], mode: str
) -> Tensor:
    """Return the means of ``count`` samples of each output pixel, ``[n, C, h, w]``."""
    (height, width), (across, down) = shape, count
    u = torch.arange(width, dtype=back.dtype, device=back.device)
    v = torch.arange(height, dtype=back.dtype, device=back.device).unsqueeze(-1)
    total = image.new_zeros(len(image), image.shape[1], height, width)
    for i, j in product(range(across), range(down)):
        within = ((i + 0.5) / across - 0.5, (j + 0.5) / down - 0.5)
        total = total + _sample(image, back, u + within[0], v + within[1], mode)
    return total / (across * down)


def _sample(image: Tensor, back: Tensor, u: Tensor, v: Tensor, mode: str) -> Tensor:
    """Sample the input at the positions that map to output pixels (u, v)."""
    old = [
        back[:, row, 0, None, None] * u
        + back[:, row, 1, None, None] * v
        + back[:, row, 2, None, None]
        for row in (0, 1)
    ]
    height, width = image.shape[-2:]
    grid = torch.stack([(2 * old[0] + 1) / width - 1, (2 * old[1] + 1) / height - 1], dim=-1)
    return grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False)
