"""Lighting: a key light with soft shadows, ambient light, gloss and ambient occlusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from handgraph.datasets.camera import Camera
from handgraph.datasets.render.fields import Draws, blur, per_image, stretch
from handgraph.datasets.render.fragments import Fragments
from handgraph.datasets.render.shapes import norm

_COARSE = 4  # downscaling factor for shadows and ambient occlusion
_STEPS = (0.006, 0.012, 0.02, 0.03, 0.045, 0.065)  # distances toward the light, metres


class Light(NamedTuple):
    """Lights of each image.

    Shapes:
        toward: ``[n, 3]``, unit vectors toward the key light, camera frame.
        sky: ``[n, 3]``, unit vectors toward the brighter half of the ambient light.
        key, ambient, ground: ``[n, 3]``, colours.
        gloss: ``[n]``; wall: ``[n]``, metres from the hand to the background.
    """

    toward: Tensor
    sky: Tensor
    key: Tensor
    ambient: Tensor
    ground: Tensor
    gloss: Tensor
    wall: Tensor


def draw_light(draws: Draws) -> Light:
    """Draw the lights of each image."""
    toward = draws.take(-1.0, 1.0, 3)
    toward = torch.cat([1.3 * toward[:, :2], -0.35 - 0.5 * (1.0 + toward[:, 2:])], dim=1)
    toward = toward - toward.new_tensor([0.0, 0.4, 0.0])
    sky = draws.take(-0.5, 0.5, 3) + toward.new_tensor([0.0, -0.8, -0.4])
    warmth = draws.take(-0.12, 0.12)[:, None]
    tint = 1.0 + warmth * warmth.new_tensor([1.0, 0.1, -1.0])
    key = draws.take(0.45, 1.0)[:, None] * tint
    ambient = draws.take(0.25, 0.55)[:, None] * (1.0 + draws.take(-0.08, 0.08, 3))
    ground = ambient * draws.take(0.35, 0.8)[:, None] * (1.0 + draws.take(-0.1, 0.1, 3))
    return Light(
        toward / norm(toward)[:, None],
        sky / norm(sky)[:, None],
        key,
        ambient,
        ground,
        draws.take(0.3, 1.4),
        draws.take(0.04, 0.3),
    )


class Shade(NamedTuple):
    """Fractions of key and ambient light that reach each pixel, ``[n, size, size]``."""

    key: Tensor
    ambient: Tensor


def cast_shade(depth: Tensor, shown: Tensor, light: Light, camera: Camera) -> Shade:
    """Compute shadows and ambient occlusion from the depth image.

    A pixel is in shadow if a surface lies between it and the light. It receives less ambient light
    if its neighbours are closer to the camera.
    """
    wall = depth.amax(dim=(1, 2)) + light.wall
    filled = depth + (1.0 - shown) * per_image(wall, depth)
    coarse = _shrink(filled)
    shadow = _shadow(coarse, light, camera)
    hollow = torch.zeros_like(filled)
    low = coarse
    for depth_of_hollow in (0.012, 0.03):
        low = blur(blur(low))
        hollow = hollow + ((filled - stretch(low, filled.shape[-1])) / depth_of_hollow).clamp(0, 1)
        low = blur(low, reach=2)
    return Shade(1.0 - shadow, 1.0 - 0.42 * hollow.clamp(max=1.6))


def _shrink(x: Tensor) -> Tensor:
    return avg_pool2d(x[:, None], _COARSE)[:, 0]


def _shadow(coarse: Tensor, light: Light, camera: Camera) -> Tensor:
    """Return the fraction of the key light that is blocked, at the size of the image."""
    size = coarse.shape[-1]
    middle = coarse.amin(dim=(1, 2))
    shadow = torch.zeros_like(coarse)
    reach = size // 2
    padded = pad(coarse, (reach, reach, reach, reach), value=9.0)
    flat = padded.flatten(1)
    width = size + 2 * reach
    line = torch.arange(size, device=coarse.device)
    base = ((line + reach)[:, None] * width + line + reach).flatten()
    for step in _STEPS:
        move = light.toward[:, :2] * (step * camera.focal / _COARSE / middle)[:, None]
        move = move.clamp(-reach, reach).round().long()
        index = base + (move[:, 1] * width + move[:, 0])[:, None]
        toward_light = flat.gather(1, index).view_as(coarse)
        above = coarse + per_image(step * light.toward[:, 2], coarse) - toward_light
        shadow = torch.maximum(shadow, ((above - 0.002) / 0.006).clamp(0.0, 1.0))
    return stretch(blur(blur(shadow)), size * _COARSE)


def shine(seen: Fragments, colour: Tensor, nail: Tensor, shade: Shade, light: Light) -> Tensor:
    """Compute the colours of lit surfaces, ``[3, m, 64]``, linear RGB.

    Subsurface scattering softens the boundary of the lit side, more in red than in blue.
    """
    tiles, image, normal = seen.tiles, seen.tiles.image, seen.normal

    def at(vector: Tensor) -> Tensor:
        x, y, z = (vector[image, k, None] for k in range(3))
        return normal[0] * x + normal[1] * y + normal[2] * z

    toward = at(light.toward)
    half = light.toward - light.toward.new_tensor([0.0, 0.0, 1.0])
    mirror = at(half / norm(half)[:, None]).relu().square().square().square()
    key, ambient = tiles.collect(shade.key), tiles.collect(shade.ambient)
    spark = mirror * mirror * mirror * (0.05 + 0.35 * nail) * light.gloss[image][:, None] * key
    above = 0.5 + 0.5 * at(light.sky)
    lit = []
    for k, wrap in enumerate((0.42, 0.24, 0.18)):
        direct = ((toward + wrap) / (1.0 + wrap)).relu() * key
        ground, sky = light.ground[image, k, None], light.ambient[image, k, None]
        around = (ground + above * (sky - ground)) * ambient
        lamp = light.key[image, k, None]
        lit.append(colour[k] * (direct * lamp + around) + spark * lamp)
    return torch.stack(lit)
