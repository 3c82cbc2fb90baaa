"""Images under the maps of the image plane that crops, mirrors and rotations are."""

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
    r"""Image after an affine map: what lay at (u, v) lies at :math:`A (u, v, 1)^T` then.

    Joints move with it by :func:`transform_points`, the camera by :func:`transform_intrinsics`.
    Each new pixel is looked up in the old image, bilinearly between the four nearest pixels. Where
    the map shrinks, a new pixel is the mean of a grid of such samples, which are spread evenly over
    it and at most one old pixel apart (antialiasing): to shrink by a whole factor is to take the
    mean of whole blocks. Outside of the old image all is 0 (black, background, no depth), and
    bilinear samples fade to it within a pixel of the border. How many samples are taken depends on
    A: ``torch.compile`` needs graph breaks here.

    Args:
        image: Images. Those of uint8 are rounded to uint8 again.
        A: Map of each image, or one for all; the last row is (0, 0, 1).
        size: Side of the new images, or their height and width.
        mode: ``"bilinear"``, or ``"nearest"``, which blends nothing: for masks and depth.

    Shapes:
        image ``[*, C, H, W]``, A ``[*, 3, 3]`` or ``[3, 3]`` -> ``[*, C, size, size]``.

    Units:
        A: pixels of the old image -> pixels of the new one, (u, v) order, integers are pixel
        centres.

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
    shape = check_sides("size", size)
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
    """Raise unless image and maps fit each other, and the mode is known."""
    if mode not in MODES:
        raise ValueError(f"expected mode to be one of {', '.join(MODES)}, got {mode!r}")
    check_tensor(image, "image")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"expected image to be uint8 or floating point, got {image.dtype}")
    if image.ndim < 3 or 0 in image.shape[-3:]:
        raise ValueError(f"expected image of shape [*, C, H, W], got {list(image.shape)}")
    check_floating(A, "A")
    check_device(A, image, "A")
    lead = list(image.shape[:-3])
    if list(A.shape) not in ([*lead, 3, 3], [3, 3]):
        raise ValueError(
            f"expected A of shape {[*lead, 3, 3]} (one an image) or [3, 3] (one for all), "
            f"got {list(A.shape)}"
        )


def _inverse(A: Tensor) -> Tensor:
    """Map from new pixels to old ones, in double precision."""
    A = A.double()
    back, info = torch.linalg.inv_ex(A)
    affine = (A[..., 2, :] == A.new_tensor([0.0, 0.0, 1.0])).all()
    if not affine or info.any() or not back.isfinite().all():
        raise ValueError("expected A to be affine and finite, and to have an inverse")
    inverse: Tensor = back
    return inverse


def _sample_counts(back: Tensor, side: int, mode: str) -> list[tuple[int, int]]:
    """How many samples each new pixel needs along u and along v, for each map.

    A hundredth more than a pixel apart counts as a pixel, so that whole factors stay whole.
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
    """New images from ``count`` samples of each new pixel along u and v. ``[n, C, h, w]``."""
    (height, width), (across, down) = shape, count
    u = torch.arange(width, dtype=back.dtype, device=back.device)
    v = torch.arange(height, dtype=back.dtype, device=back.device).unsqueeze(-1)
    total = image.new_zeros(len(image), image.shape[1], height, width)
    for i, j in product(range(across), range(down)):
        within = ((i + 0.5) / across - 0.5, (j + 0.5) / down - 0.5)
        total = total + _sample(image, back, u + within[0], v + within[1], mode)
    return total / (across * down)


def _sample(image: Tensor, back: Tensor, u: Tensor, v: Tensor, mode: str) -> Tensor:
    """Values of the old image where new pixels (u, v) come from."""
    old = [
        back[:, row, 0, None, None] * u
        + back[:, row, 1, None, None] * v
        + back[:, row, 2, None, None]
        for row in (0, 1)
    ]
    height, width = image.shape[-2:]
    grid = torch.stack([(2 * old[0] + 1) / width - 1, (2 * old[1] + 1) / height - 1], dim=-1)
    return grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False)
