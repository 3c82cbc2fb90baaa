"""Target heatmaps: a Gaussian at each joint."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_points, check_positive, check_sides
from handgraph.vision._grid import make_grid


def gaussian_heatmaps(
    uv: Tensor,
    image_size: int | tuple[int, int],
    *,
    stride: int = 4,
    sigma: float = 2.0,
    offset: float | None = None,
    align_corners: bool = False,
) -> Tensor:
    r"""Draw a Gaussian at each joint, the target of the paper's Eq. 2.

    .. math:: h_j(x, y) = \exp\Big(-\frac{(x - x_j)^2 + (y - y_j)^2}{2 \sigma^2}\Big), \qquad
              x_j = \frac{u_j - (s - 1) / 2}{s}

    and likewise :math:`y_j` from :math:`v_j`, where s is the stride. Heatmap pixel x covers the
    image pixels from :math:`s x` to :math:`s x + s - 1` and represents their centre.
    Centres are not rounded to pixels, and the Gaussian is not truncated. Its peak is 1 for a joint
    at the centre of a pixel, and at least 0.94 elsewhere for sigma 2. Occluded joints also have a
    target (decision 19). A joint outside the image adds only the tail of its Gaussian, which is
    almost zero if the joint is far away. A joint that is NaN gives a map of NaN.

    Published HRNet code rounds joints to pixels and places heatmap pixel x at image pixel
    :math:`s x`. Its coordinates differ by :math:`(s - 1) / 2`, which is 1.5 pixels at stride 4. To
    continue training such a model, use ``gaussian_heatmaps(uv, size, **generator.grid)``.

    Args:
        uv: Joint coordinates in the image.
        image_size: Side of a square image, or (height, width).
        stride: Image pixels per heatmap pixel, a divisor of the sides.
        sigma: Standard deviation of the Gaussian.
        offset: As in :func:`decode_heatmaps`.
        align_corners: As in :func:`decode_heatmaps`.

    Shapes:
        uv ``[*, J, 2]`` -> ``[*, J, H / stride, W / stride]``.

    Units:
        uv in image pixels, in (u, v) order, with pixel centres at integers. sigma in heatmap
        pixels (64 x 64 in the paper).

    Raises:
        TypeError: If uv is not floating point.
        ValueError: If uv is not ``[*, J, 2]``, the stride does not divide the sides, or a size is
            not positive.

    Example:
        >>> import torch
        >>> from handgraph.vision import gaussian_heatmaps
        >>> gaussian_heatmaps(torch.tensor([[5.5, 1.5]]), 16, sigma=1.0)[0, 0]  # the topmost row
        tensor([0.6065, 1.0000, 0.6065, 0.1353])
    """
    check_points(uv, "uv", 2)
    check_positive(sigma, "sigma")
    check_positive(stride, "stride")
    height, width = _map_size(image_size, stride)
    centre = make_grid((height, width), stride, offset, align_corners).to_map(uv)
    column = _gaussian(centre[..., 0], width, sigma)
    row = _gaussian(centre[..., 1], height, sigma)
    return row.unsqueeze(-1) * column.unsqueeze(-2)


def _gaussian(centre: Tensor, size: int, sigma: float) -> Tensor:
    """Evaluate a Gaussian at pixels 0 to size - 1, ``[*, size]``."""
    pixels = torch.arange(size, dtype=centre.dtype, device=centre.device)
    return torch.exp(-((pixels - centre.unsqueeze(-1)) / sigma).square() / 2)


def _map_size(image_size: int | tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = check_sides(image_size, "image_size")
    if height % stride or width % stride:
        raise ValueError(
            f"expected an image_size whose sides are multiples of the stride {stride}, "
            f"got {image_size}"
        )
    return height // stride, width // stride
