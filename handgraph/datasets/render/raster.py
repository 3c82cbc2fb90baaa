"""The z-buffer: the first shape on each pixel's ray, and its depth.

The image is divided into tiles of 8 by 8 pixels. Each shape is intersected with the rays of its
candidate tiles. The lowest eight bits of a depth hold the index of its shape, so the minimum depth
also identifies the shape. The error is at most 2^-15 of the depth (15 micrometres at half a metre).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.camera import Camera
from handgraph.datasets.render.cover import (
    TILE,
    Boxes,
    ball_boxes,
    cone_boxes,
    cone_may_meet,
    cover,
    tiles_per_side,
    triangle_boxes,
    triangle_may_meet,
)
from handgraph.datasets.render.shapes import (
    MISS,
    Balls,
    Cones,
    Rays,
    Triangles,
    ball_depth,
    cone_depth,
    make_rays,
    triangle_depth,
)
from handgraph.datasets.render.surface import Shapes

_NUMBERS = 256  # largest number of shapes
_BLOCK = 512  # tiles processed at once on the CPU, to fit its cache


class Kind(NamedTuple):
    """Functions of a kind of shape: construction, intersection and candidate tiles."""

    make: Callable[..., tuple[Tensor, ...]]
    depth: Callable[..., Tensor]
    boxes: Callable[..., Boxes]
    may_meet: Callable[..., Tensor] | None

    def take(self, values: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, ...]:
        """Return the shapes with these indices."""
        return self.make(*(numbers[index] for numbers in values))


_KINDS = (  # same order as Shapes
    Kind(Balls, ball_depth, ball_boxes, None),
    Kind(Cones, cone_depth, cone_boxes, cone_may_meet),
    Kind(Triangles, triangle_depth, triangle_boxes, triangle_may_meet),
)


def pixel_rays(u: Tensor, v: Tensor, centre: float, focal: float | Tensor) -> Rays:
    """Return the rays through pixels (u, v) of a camera."""
    return make_rays((u - centre) / focal, (v - centre) / focal)


def pack_depth(depth: Tensor, number: Tensor) -> Tensor:
    """Store the index of a shape in the lowest bits of its depth."""
    bits = (depth.view(torch.int32) & -_NUMBERS) | number.to(torch.int32)
    return bits.view(torch.float32)


def unpack_depth(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Separate depths and shape indices."""
    bits = packed.view(torch.int32)
    return (bits & -_NUMBERS).view(torch.float32), bits & (_NUMBERS - 1)


def first_hits(rays: Rays, shapes: Shapes, numbers: Tensor) -> Tensor:
    """Return the depths where rays enter each shape of their image, with the shape indices.

    Shapes:
        rays: ``[n, R]``; numbers: ``[P]``; output: ``[n, R, P]``.
    """
    rays = Rays(*(values[..., None] for values in rays))
    depths = [
        kind.depth(rays, kind.make(*(values[:, None] for values in shape)))
        for kind, shape in zip(_KINDS, shapes, strict=True)
    ]
    return pack_depth(torch.cat(depths, dim=-1), numbers)


def draw(shapes: Shapes, camera: Camera) -> Tensor:
    """Find the first shape in every pixel.

    Shapes:
        output: ``[n, tiles, 64]``, depths with shape indices; tiles and their pixels are in
            row-major order.
    """
    num_images, device = len(shapes.balls.radius), shapes.balls.radius.device
    rays = tile_rays(camera, device)
    buffer = rays.x.new_full((num_images * len(rays.x), TILE * TILE), MISS)
    first = 0
    for kind, shape in zip(_KINDS, shapes, strict=True):
        _draw_kind(buffer, kind, shape, rays, first, camera)
        first += shape[0].shape[1]
    return buffer.view(num_images, len(rays.x), TILE * TILE)


def tile_rays(camera: Camera, device: torch.device) -> Rays:
    """Return the rays of all pixels by tile, ``[tiles, 64]``."""
    side = tiles_per_side(camera)
    pixel = torch.arange(side * TILE, device=device, dtype=torch.float32).view(side, TILE)
    shape = (side, side, TILE, TILE)  # tile row, tile column, row, column
    v = pixel[:, None, :, None].expand(shape).reshape(side * side, -1)
    u = pixel[None, :, None, :].expand(shape).reshape(side * side, -1)
    return pixel_rays(u, v, camera.centre, camera.focal)


def _draw_kind(
    buffer: Tensor, kind: Kind, shape: tuple[Tensor, ...], rays: Rays, first: int, camera: Camera
) -> None:
    """Draw all shapes of one kind into the z-buffer, in blocks of tiles."""
    per_image, num_tiles = shape[0].shape[1], len(rays.x)
    flat = tuple(values.flatten(0, 1) for values in shape)
    which, tile = cover(kind.boxes(shape, camera), tiles_per_side(camera))
    if kind.may_meet is not None:
        meets = kind.may_meet(_middle(rays, tile), kind.take(flat, which), _spread(camera))
        which, tile = which[meets], tile[meets]
    image = torch.div(which, per_image, rounding_mode="floor")
    row = image * num_tiles + tile
    number = (which - image * per_image + first).to(torch.int32)
    size = _BLOCK if buffer.device.type == "cpu" else len(which) + 1
    for start in range(0, len(which), size):
        block = slice(start, start + size)
        near = Rays(*(values.index_select(0, tile[block]) for values in rays))
        depth = kind.depth(near, kind.take(flat, which[block, None]))
        depth = pack_depth(depth, number[block, None])
        buffer.scatter_reduce_(0, row[block, None].expand_as(depth), depth, "amin")


def _middle(rays: Rays, tile: Tensor) -> Rays:
    """Return the rays through the centres of tiles."""
    x, y = ((values[:, 0] + values[:, -1]) / 2 for values in (rays.x, rays.y))
    return make_rays(x[tile], y[tile])


def _spread(camera: Camera) -> float:
    """Return the largest distance in (x, y) of a tile's rays from its central ray."""
    return TILE / 2**0.5 / camera.focal
