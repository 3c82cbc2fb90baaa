"""Decode heatmaps into joint coordinates and confidences."""

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
    r"""Find the highest pixel of each map, and move a quarter pixel toward its higher neighbour.

    .. math:: u = s \Big(x + \frac{1}{4} \operatorname{sign}\big(h(x + 1, y) - h(x - 1, y)\big)\Big)
              + \frac{s - 1}{2}

    and likewise for v, where (x, y) is the highest pixel and s is the stride. This is the decoding
    of published HRNet code (Sun et al., CVPR 2019) and the default (decision 20). On an exact
    Gaussian, the error is at most a quarter of a heatmap pixel, which is one image pixel at stride
    4. :func:`decode_dark` is more accurate. Coordinates in the outermost columns (u) and rows (v)
    are not refined. The first of equally high pixels is used. A constant map has no meaningful
    peak, whatever its confidence. A joint is NaN if its map contains NaN. ``confidence`` has a
    gradient; ``uv`` has none (see :func:`soft_argmax`). Half-precision maps, as under autocast, are
    decoded in float32, because half precision cannot resolve single pixels.

    The positions of heatmap pixels in the image depend on the code that trained the model.
    :attr:`HeatmapGenerator.grid` holds the arguments for the loaded weights:

    ================================ ========================= ======================
    trained with                     u of heatmap pixel x      arguments
    ================================ ========================= ======================
    handgraph                        s x + (s - 1) / 2         the defaults
    HRNet code, mmpose, DARK         s x                       ``offset=0``
    UDP                              x (s W - 1) / (W - 1)     ``align_corners=True``
    ================================ ========================= ======================

    where W is the width of the map. UDP is the "unbiased" coordinate system of Huang et al. (CVPR
    2020). With the defaults, coordinates of a model of the second row are off by 1.5 pixels.

    Args:
        heatmaps: One map per joint, as returned by :class:`HeatmapGenerator`.
        stride: Image pixels per heatmap pixel.
        offset: Image coordinate of the centre of the first heatmap pixel. Default:
            (s - 1) / 2, the centre of the image pixels it covers, or 0 with ``align_corners``.
        align_corners: Whether the first and last pixels of heatmap and image coincide, as in
            :func:`torch.nn.functional.interpolate`.

    Returns:
        The coordinates ``uv`` and the values of the peaks as ``confidence``.

    Shapes:
        heatmaps ``[*, H, W]`` -> uv ``[*, 2]``, confidence ``[*]``.

    Units:
        uv in image pixels, in (u, v) order, with pixel centres at integers. This is the inverse of
        :func:`gaussian_heatmaps`.

    Raises:
        TypeError: If heatmaps is not floating point.
        ValueError: If heatmaps is not ``[*, H, W]`` with H, W >= 1, or stride is not positive.

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

    and likewise for v (Nibali et al., "Numerical coordinate regression with convolutional neural
    networks", 2018). Coordinates are differentiable and have sub-pixel resolution. A lower
    temperature T gives less weight to low pixels; near 0 the result is the argmax. The default
    suits maps with a peak near 1: on an exact Gaussian, the error is below 0.2 image pixels. The
    thousands of other pixels pull a low peak towards the centre of the map. In a 64 x 64 map, a
    peak of 0.5 moves by a fifth of the way and one of 0.3 by four fifths. Use a lower temperature
    or :func:`decode_heatmaps` for such maps. Models trained through this function can use T = 1. A
    joint is NaN if its map contains NaN. Half-precision maps are decoded in float32.

    Args:
        heatmaps: One map per joint, as returned by :class:`HeatmapGenerator`.
        stride: Image pixels per heatmap pixel.
        temperature: Softmax temperature T, in the unit of the heatmap values.
        offset: As in :func:`decode_heatmaps`.
        align_corners: As in :func:`decode_heatmaps`.

    Returns:
        The coordinates ``uv`` and the values of the peaks as ``confidence``.

    Shapes:
        heatmaps ``[*, H, W]`` -> uv ``[*, 2]``, confidence ``[*]``.

    Units:
        uv in image pixels, in (u, v) order, with pixel centres at integers. temperature in the unit
        of the heatmap values.

    Raises:
        TypeError: If heatmaps is not floating point.
        ValueError: If heatmaps is not ``[*, H, W]`` with H, W >= 1, or stride or temperature is not
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
    weight = torch.softmax(flat / temperature, dim=-1).unflatten(-1, (height, width))
    xy = torch.stack([_mean(weight.sum(dim=-2)), _mean(weight.sum(dim=-1))], dim=-1)
    return grid.to_image(xy), flat.amax(dim=-1)


def _refine(line: Tensor, position: Tensor) -> Tensor:
    """Move positions in ``line [*, L]`` by 1/4 toward the higher neighbour, except at ends."""
    inner = (position > 0) & (position < line.shape[-1] - 1)
    around = torch.where(inner, position, 0).unsqueeze(-1)
    after = line.gather(-1, (around + 1).clamp(max=line.shape[-1] - 1))
    before = line.gather(-1, (around - 1).clamp(min=0))
    step = torch.where(inner, (after - before).squeeze(-1).sign(), 0)
    return position + step / 4


def _mean(weight: Tensor) -> Tensor:
    """Return the weighted mean position, ``[*, L]`` -> ``[*]``."""
    place = torch.arange(weight.shape[-1], dtype=weight.dtype, device=weight.device)
    return (weight * place).sum(dim=-1)  # autocast runs matrix products in half precision
