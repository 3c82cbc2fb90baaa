"""Model of a camera: exposure, colour cast, blur, tone curve and noise."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.datasets.render.counters import split_mix
from handgraph.datasets.render.fields import Draws, blur, per_image

_SLACK = 64


def photograph(light: Tensor, draws: Draws) -> Tensor:
    """Convert linear RGB ``[n, 3, S, S]`` to photographs, uint8."""
    cast = 1.0 + draws.take(-0.06, 0.06, 3)
    light = light * (draws.take(0.8, 1.2)[:, None] * cast)[..., None, None]
    near = per_image(draws.take(0.12, 0.25), light)
    light = blur(light, near)
    blurred = (draws.take(0.0, 1.0) < 0.35).nonzero()[:, 0]
    light[blurred] = blur(light[blurred], near[blurred], 2)
    image = _curve(light).sqrt_()
    return image.add_(_grain(draws, light)).mul_(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)


def _curve(light: Tensor) -> Tensor:
    """Compress bright light toward 1: the identity below 0.6, a parabola above."""
    over = (light - 0.6).relu_().clamp_(max=0.8)
    return light.clamp(max=1.4).sub_(over.square_().mul_(0.625)).clamp_(min=0.0)


def _grain(draws: Draws, like: Tensor) -> Tensor:
    """Return noise of random strength for each image, the sum of two windows of one field."""
    height, width = like.shape[-2:]
    field = _field(3, height + _SLACK, width + _SLACK, like.device)
    strength = draws.take(0.1, 1.0).square() * 0.022
    corners = draws.take(0.0, float(_SLACK), 4).long().tolist()
    noise = torch.empty_like(like)
    for image, (a, b, c, d) in zip(noise, corners, strict=True):
        torch.add(
            field[:, a : a + height, b : b + width],
            field[:, c : c + height, d : d + width],
            out=image,
        )
    return noise.mul_(per_image(strength, like))


def _field(channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return nearly Gaussian noise of standard deviation 0.7: sums of four 16 bit numbers."""
    bits = split_mix(torch.arange(channels * height * width, device=device))
    parts = [(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]
    total = (parts[0] + parts[1] + parts[2] + parts[3]).to(torch.float32)
    return (total / 2.0**16 - 2.0).mul_(1.5**0.5).view(channels, height, width)
