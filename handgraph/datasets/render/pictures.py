"""Rendering of a stage to images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.camera import Camera
from handgraph.datasets.render.anatomy import BONES, OBJECT, PERSON
from handgraph.datasets.render.background import NUM_NUMBERS, draw_background
from handgraph.datasets.render.camera import photograph
from handgraph.datasets.render.cloth import draw_cloth, lay_cloth
from handgraph.datasets.render.counters import uniform
from handgraph.datasets.render.fields import Draws, stretch
from handgraph.datasets.render.fragments import Fragments, look_up
from handgraph.datasets.render.light import cast_shade, draw_light, shine
from handgraph.datasets.render.raster import draw
from handgraph.datasets.render.skin import draw_skin, paint_skin
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.render.surface import hand_shapes, join, object_shapes
from handgraph.datasets.rhd.layout import swap_hands
from handgraph.skeletons import FINGERS

_PIXELS = 2**19  # pixels rendered at once; fits the CPU's cache
_GPU_PIXELS = 2**23
_NUM_NUMBERS = NUM_NUMBERS + 400  # background and everything else


class Pictures(NamedTuple):
    """Rendered images.

    Shapes:
        image: uint8 ``[n, 3, S, S]``, RGB.
        depth: float32 ``[n, S, S]``, metres, 0 for the background.
        mask: uint8 ``[n, S, S]``, codes of RHD.
    """

    image: Tensor
    depth: Tensor
    mask: Tensor


def render(stage: Stage, camera: Camera, seed: int, index: Tensor) -> Pictures:
    """Render images in chunks.

    Args:
        stage: Hands and objects in front of the camera.
        camera: The camera.
        seed: Determines, with ``index``, colours, lights, backgrounds and noise.
        index: Index of each image in its dataset, Long ``[n]``.
    """
    pixels = _PIXELS if index.device.type == "cpu" else _GPU_PIXELS
    step = max(1, pixels // camera.image_size**2)
    parts = [
        _render_chunk(stage.take(chunk), camera, seed, index[chunk])
        for chunk in torch.arange(len(index), device=index.device).split(step)
    ]
    return Pictures(*(torch.cat(values) for values in zip(*parts, strict=True)))


def mirror(pictures: Pictures, chosen: Tensor) -> Pictures:
    """Mirror the chosen images, Bool ``[n]``, which turns right hands into left hands."""
    flipped = [values.flip(-1) for values in pictures]
    flipped[2] = swap_hands(flipped[2])
    pick = chosen.view(-1, 1, 1)
    return Pictures(
        torch.where(pick[..., None], flipped[0], pictures.image),
        torch.where(pick, flipped[1], pictures.depth),
        torch.where(pick, flipped[2], pictures.mask),
    )


def _render_chunk(stage: Stage, camera: Camera, seed: int, index: Tensor) -> Pictures:
    draws = Draws(uniform(seed, index, _NUM_NUMBERS))
    shapes = join(hand_shapes(stage), object_shapes(stage))
    seen = look_up(draw(shapes, camera), shapes, stage, camera)
    codes = torch.tensor(MASK_CODES, dtype=torch.uint8, device=index.device)
    shown = seen.tiles.spread(seen.shown)
    depth = seen.tiles.spread(seen.depth * seen.shown)
    mask = seen.tiles.spread(codes[seen.bone] * seen.shown.to(torch.uint8))
    size = camera.image_size
    image = photograph(_emit(seen, draws, depth, shown, camera)[..., :size, :size], draws)
    return Pictures(image, depth[:, :size, :size], mask[:, :size, :size])


def _emit(seen: Fragments, draws: Draws, depth: Tensor, shown: Tensor, camera: Camera) -> Tensor:
    """Compute the light of each pixel, ``[n, 3, size, size]``."""
    tiles, size = seen.tiles, depth.shape[-1]
    noise = tiles.collect(stretch(draws.take(-1.0, 1.0, 16, 16), size))
    colour, nail = paint_skin(seen, draw_skin(draws), noise)
    colour = lay_cloth(colour, seen, draw_cloth(draws), noise).clamp(0.0, 1.0)
    light = draw_light(draws)
    shade = cast_shade(depth, shown, light, camera)
    front = tiles.spread(shine(seen, colour, nail, shade, light) * seen.shown).transpose(0, 1)
    dim = (0.35 + 0.65 * shade.key) * (0.8 + 0.2 * shade.ambient) * (1.0 - shown)
    return draw_background(draws, size).mul_(dim[:, None]).add_(front)


def _mask_codes() -> list[int]:
    """Return RHD's code of each bone: 18 to 32 fingers from tip to palm, 33 the palm."""
    codes = []
    for name in BONES:
        finger, _, level = name.partition("_")
        if name in (PERSON, OBJECT):
            codes.append(int(name == PERSON))
        elif level == "mcp":
            codes.append(33)
        else:
            codes.append(18 + 3 * FINGERS.index(finger) + ("tip", "dip", "pip").index(level))
    return codes


MASK_CODES = _mask_codes()
"""RHD's mask code of each bone, in the order of ``anatomy.BONES``."""
