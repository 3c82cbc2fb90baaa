"""Backgrounds: smooth noise at several scales, and a few blurred shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.datasets.render.fields import Draws, per_image, smooth_step, stretch

_GRIDS = (3, 6, 12, 24)
_SHAPES = 4
NUM_NUMBERS = 3 * sum(k * k for k in _GRIDS) + 200
"""Upper limit of the random numbers that a background uses."""


def draw_background(draws: Draws, size: int) -> Tensor:
    """Draw backgrounds, ``[n, 3, size, size]``, linear RGB, computed at half the size."""
    half = size // 2
    grey = draws.take(0.0, 1.0).sqrt()
    image = _cloud(draws, half, grey)
    line = torch.linspace(-1.0, 1.0, half, dtype=image.dtype, device=image.device)
    x, y = line[None, None, :], line[None, :, None]
    for _ in range(_SHAPES):
        image = _lay_shape(image, draws, x, y, grey)
    return stretch(image.clamp_(0.02, 1.0).square_(), size)


def _cloud(draws: Draws, size: int, grey: Tensor) -> Tensor:
    """Return a colour with smooth noise, from coarse to fine."""
    image = _colour(draws, grey)
    rough, strength = draws.take(0.3, 0.75), draws.take(0.05, 0.3)
    for grid in _GRIDS:
        noise = draws.take(-1.0, 1.0, 3, grid, grid)
        shared = noise[:, :1] + 0.35 * (1.0 - per_image(grey, noise)) * noise
        image = stretch(image, grid) if image.shape[-1] > 1 else image
        image = image + per_image(strength, image) * shared
        strength = strength * rough
    return stretch(image, size)


def _lay_shape(image: Tensor, draws: Draws, x: Tensor, y: Tensor, grey: Tensor) -> Tensor:
    """Draw a rotated rectangle, plain or striped, on some of the images."""
    turn, softness = draws.take(0.0, 6.2832), draws.take(5.0, 60.0)
    centre, extent = draws.take(-1.2, 1.2, 2), draws.take(0.1, 1.2, 2)
    cos, sin = per_image(turn.cos(), x), per_image(turn.sin(), x)
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    outside = torch.maximum(u.abs() - extent[:, 0, None, None], v.abs() - extent[:, 1, None, None])
    cover = smooth_step(0.5 - per_image(softness, x) * outside)
    cover = cover * per_image(draws.chance(0.6) * draws.take(0.7, 1.0), x)
    stripes = per_image(draws.chance(0.35) * draws.take(0.05, 0.25), x)
    bands = 1.0 + stripes * (per_image(draws.take(4.0, 40.0), x) * u).sin()
    return image + cover[:, None] * (_colour(draws, grey) * bands[:, None] - image)


def _colour(draws: Draws, grey: Tensor) -> Tensor:
    """Draw a colour for each image, ``[n, 3, 1, 1]``; a larger ``grey`` gives greyer colours."""
    bright = draws.take(0.15, 0.8)[:, None]
    hue = draws.take(-0.35, 0.35, 3) * (1.0 - grey)[:, None] + draws.take(-0.06, 0.06, 3)
    return (bright + hue).clamp(0.03, 0.97)[..., None, None]
