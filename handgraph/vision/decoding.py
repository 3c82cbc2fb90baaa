"""From heatmaps to joints: where the peak is, and how high."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_positive
from handgraph.vision._grid import check_heatmaps, find_peaks, make_grid


def decode_heatmaps(
    heatmaps: Tensor,
    *,
    stride: int = 4,
    offset: float | None = None,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Find the highest pixel of each map, and step a quarter towards its higher neighbour.

    .. math:: u = s \Big(x + \frac{1}{4} \operatorname{sign}\big(h(x + 1, y) - h(x - 1, y)\big)\Big)
              + \frac{s - 1}{2}

    with (x, y) the highest pixel and s the stride, and v likewise: the decoding of published HRNet
    code (Sun et al., CVPR 2019) and the default here (decision 20). On an exact Gaussian it errs by
    a quarter of a heatmap pixel at most, which is one image pixel; :func:`decode_dark` is finer.
    There is no step beyond the border. Of equally high pixels the first counts; a map that is flat
    has no peak to speak of, whatever its confidence. A NaN anywhere in a map makes its joint NaN.
    ``confidence`` has a gradient, ``uv`` has none: see :func:`soft_argmax`. Half-precision maps, as
    autocast gives them, are decoded in float32, since their own dtype could not tell one pixel from
    the next.

    Nets differ in where the pixels of their heatmaps lie in the image.
    :attr:`HeatmapGenerator.grid` holds the arguments for its weights:

    ================================ ========================= ======================
    trained by                       u of heatmap pixel x      arguments
    ================================ ========================= ======================
    handgraph                        s x + (s - 1) / 2         the defaults
    HRNet's code, mmpose, DARK       s x                       ``offset=0``
    UDP                              x (s W - 1) / (W - 1)     ``align_corners=True``
    ================================ ========================= ======================

    with W the width of the map; UDP's coordinates are the "unbiased" ones of Huang et al. (CVPR
    2020). Decoded by the first row, nets of the second err by 1.5 pixels.

    Args:
        heatmaps: One map for each joint, as :class:`HeatmapGenerator` gives them.
        stride: Image pixels per heatmap pixel.
        offset: Where in the image the centre of the first heatmap pixel is. By default
            (s - 1) / 2, the centre of the pixels that it covers, or 0 with ``align_corners``.
        align_corners: Whether a heatmap's first and last pixel are those of the image, as in
            :func:`torch.nn.functional.interpolate`.

    Returns:
        ``uv``, and the peak as ``confidence``.

    Shapes:
        heatmaps ``[*, H, W]`` -> uv ``[*, 2]``, confidence ``[*]``.

    Units:
        uv in pixels of the image, (u, v) order, integers being pixel centres: the inverse of
        :func:`gaussian_heatmaps`.

    Raises:
        TypeError: If heatmaps is not floating point.
        ValueError: If heatmaps is not ``[*, H, W]`` with a pixel, or the stride is not positive.

    Example:
        >>> import torch
        >>> from handgraph.vision import decode_heatmaps, gaussian_heatmaps
        >>> uv = torch.tensor([[100.5, 60.0]])
        >>> found, confidence = decode_heatmaps(gaussian_heatmaps(uv, 256))
        >>> found.tolist(), round(confidence.item(), 3)  # half a pixel off in v
        ([[100.5, 60.5]], 0.975)
    """
    heatmaps = check_heatmaps(heatmaps)
    height, width = heatmaps.shape[-2:]
    grid = make_grid((height, width), stride, offset, align_corners)
    x, y, peak = find_peaks(heatmaps)
    row = heatmaps.gather(-2, y[..., None, None].expand(*y.shape, 1, width)).squeeze(-2)
    column = heatmaps.gather(-1, x[..., None, None].expand(*x.shape, height, 1)).squeeze(-1)
    xy = torch.stack([_refine(row, x), _refine(column, y)], dim=-1).detach()
    return grid.to_image(xy.where(~peak.isnan().unsqueeze(-1), torch.nan)), peak


def soft_argmax(
    heatmaps: Tensor,
    *,
    stride: int = 4,
    temperature: float = 0.06,
    offset: float | None = None,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Average the pixels of each map, weighted by a softmax of their values.

    .. math:: u = s \sum_{x, y} p(x, y)\, x + \frac{s - 1}{2}, \qquad
              p = \operatorname{softmax}(h / T)

    (Nibali et al., "Numerical coordinate regression with convolutional neural networks", 2018),
    and v likewise: differentiable, and finer than a pixel. The lower the temperature T, the fewer
    pixels count: near 0 this is the argmax. The default suits maps whose peak is near 1: on an
    exact Gaussian it errs by less than 0.2 image pixels. A low peak does not stand out from the
    thousands of pixels around it: one of 0.5 moves a fifth of the way to the centre of a map of
    64 x 64, one of 0.3 four fifths. Lower the temperature there, or take :func:`decode_heatmaps`.
    A net that learns through this function may take 1. A NaN anywhere in a map makes its joint NaN.
    Half-precision maps are decoded in float32.

    Args:
        heatmaps: One map for each joint, as :class:`HeatmapGenerator` gives them.
        stride: Image pixels per heatmap pixel.
        temperature: T, in the unit of the heatmaps' values.
        offset: As in :func:`decode_heatmaps`.
        align_corners: As in :func:`decode_heatmaps`.

    Returns:
        ``uv``, and the peak as ``confidence``.

    Shapes:
        heatmaps ``[*, H, W]`` -> uv ``[*, 2]``, confidence ``[*]``.

    Units:
        uv in pixels of the image, (u, v) order, integers being pixel centres; the temperature in
        the unit of the heatmaps' values.

    Raises:
        TypeError: If heatmaps is not floating point.
        ValueError: If heatmaps is not ``[*, H, W]`` with a pixel, or stride or temperature is not
            positive.

    Example:
        >>> import torch
        >>> from handgraph.vision import gaussian_heatmaps, soft_argmax
        >>> uv = torch.tensor([[100.5, 60.0]])
        >>> found, _ = soft_argmax(gaussian_heatmaps(uv, 256))
        >>> [round(x, 1) for x in found[0].tolist()]
        [100.6, 60.1]
    """
    heatmaps = check_heatmaps(heatmaps)
    check_positive(temperature, "temperature")
    height, width = heatmaps.shape[-2:]
    grid = make_grid((height, width), stride, offset, align_corners)
    flat = heatmaps.flatten(-2)
    share = torch.softmax(flat / temperature, dim=-1).unflatten(-1, (height, width))
    xy = torch.stack([_mean(share.sum(dim=-2)), _mean(share.sum(dim=-1))], dim=-1)
    return grid.to_image(xy), flat.amax(dim=-1)


def _refine(line: Tensor, position: Tensor) -> Tensor:
    """The position in ``line [*, L]``, a quarter towards the higher neighbour if it has two."""
    inner = (position > 0) & (position < line.shape[-1] - 1)
    around = torch.where(inner, position, 0).unsqueeze(-1)
    after = line.gather(-1, (around + 1).clamp(max=line.shape[-1] - 1))
    before = line.gather(-1, (around - 1).clamp(min=0))
    step = torch.where(inner, (after - before).squeeze(-1).sign(), 0)
    return position + step / 4


def _mean(share: Tensor) -> Tensor:
    """The mean position under these shares, ``[*, L]`` -> ``[*]``."""
    place = torch.arange(share.shape[-1], dtype=share.dtype, device=share.device)
    return (share * place).sum(dim=-1)  # autocast would take a product to half precision
