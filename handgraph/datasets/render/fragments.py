"""Surface attributes of each pixel: point, normal, bone, and position on the bone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph.datasets.camera import Camera
from handgraph.datasets.render.cover import TILE, tiles_per_side
from handgraph.datasets.render.frames import bone_frames
from handgraph.datasets.render.raster import tile_rays, unpack_depth
from handgraph.datasets.render.shapes import FAR, cross, norm
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.render.surface import Shapes, bone_labels

_FAR_ENOUGH = 100.0  # finite depth of pixels without a hit, metres


class Tiles(NamedTuple):
    """Tiles of images that show more than the background.

    Args:
        row: Indices of the tiles, Long ``[m]``, counted over all images.
        num_images: Number of images.
        side: Number of tiles in a row of an image.
    """

    row: Tensor
    num_images: int
    side: int

    @property
    def image(self) -> Tensor:
        """Index of the image of each tile, ``[m]``."""
        return torch.div(self.row, self.side * self.side, rounding_mode="floor")

    def spread(self, values: Tensor) -> Tensor:
        """Scatter tile values ``[*, m, 64]`` to images ``[*, n, size, size]``, zero elsewhere."""
        front, size = values.shape[:-2], self.side * TILE
        shape = (*front, self.num_images * self.side**2, TILE * TILE)
        flat = torch.zeros(shape, dtype=values.dtype, device=values.device)
        flat.index_copy_(-2, self.row, values)
        blocks = flat.view(*front, self.num_images, self.side, self.side, TILE, TILE)
        return blocks.transpose(-3, -2).reshape(*front, self.num_images, size, size)

    def collect(self, images: Tensor) -> Tensor:
        """Gather tile values ``[*, m, 64]`` from images ``[*, n, size, size]``."""
        front = images.shape[:-3]
        blocks = images.view(*front, self.num_images, self.side, TILE, self.side, TILE)
        flat = blocks.transpose(-3, -2).reshape(*front, -1, TILE * TILE)
        return flat.index_select(-2, self.row)


class Fragments(NamedTuple):
    """Surface attributes of the pixels of tiles; undefined where pixels show the background.

    Shapes:
        tiles: The tiles.
        shown: ``[m, 64]``, 1 on a surface, else 0.
        depth: ``[m, 64]``, metres.
        bone: Long ``[m, 64]``, an index into ``anatomy.BONES``.
        normal: ``[3, m, 64]``, unit vectors, camera frame.
        local: ``[2, m, 64]``, the point in its bone's frame: along, in units of the frame's vector,
            and across (toward the thumb's side), in centimetres for a hand of mean size.
        facing: ``[2, m, 64]``, components of the normal across and upward.
    """

    tiles: Tiles
    shown: Tensor
    depth: Tensor
    bone: Tensor
    normal: Tensor
    local: Tensor
    facing: Tensor


def look_up(buffer: Tensor, shapes: Shapes, stage: Stage, camera: Camera) -> Fragments:
    """Compute the surface attributes of all pixels from the z-buffer."""
    packed = buffer.flatten(0, 1)
    row = (packed.amin(dim=1) < FAR).nonzero()[:, 0]
    tiles = Tiles(row, len(buffer), tiles_per_side(camera))
    depth, number = unpack_depth(packed.index_select(0, row))
    shown, depth = (depth < FAR).float(), depth.clamp(max=_FAR_ENOUGH)
    values = _gather(_table(shapes, stage), number, tiles)
    x, y, _ = (rays.index_select(0, row % len(rays)) for rays in tile_rays(camera, row.device))
    point = torch.stack([x * depth, y * depth, depth])
    normal = _normals(point, values)
    place = point - values[12:15]
    along, across, upward = values[15:18], values[18:21], values[21:24]
    scale = (100.0 / stage.scale)[tiles.image][:, None]
    local = (_dot(place, along), _dot(place, across) * scale)
    facing = (_dot(normal, across), _dot(normal, upward))
    bone = values[24].long()
    return Fragments(tiles, shown, depth, bone, normal, torch.stack(local), torch.stack(facing))


def _gather(table: Tensor, number: Tensor, tiles: Tiles) -> Tensor:
    """Return the table's row for the shape of each pixel, ``[columns, m, 64]``."""
    num_shapes = table.shape[1]
    entry = number.clamp(max=num_shapes - 1) + tiles.image[:, None] * num_shapes
    rows = table.flatten(0, 1).index_select(0, entry.flatten())
    return rows.t().contiguous().view(table.shape[-1], *number.shape)


def _normals(point: Tensor, values: Tensor) -> Tensor:
    """Compute normals: from the nearest point of the axis, or a triangle's own normal."""
    place, along = point - values[0:3], values[3:6]
    touch = (_dot(place, along) - values[6]) * values[7]
    normal = (place - touch * along) * values[11] + values[8:11]
    return normal / (_dot(normal, normal) + 1e-20).sqrt()


def _table(shapes: Shapes, stage: Stage) -> Tensor:
    """Return the attributes of each shape that ``look_up`` uses, ``[n, shapes, 25]``."""
    base, along, upward = bone_frames(stage)
    length = norm(along)[..., None]
    frames = torch.cat([base, along / length**2, cross(upward, along / length), upward], dim=-1)
    labels = bone_labels(base.device)
    own = labels[:, None].expand(len(base), -1, 1)
    return torch.cat([_shape_table(shapes), frames[:, labels], own], dim=-1)


def _shape_table(shapes: Shapes) -> Tensor:
    """Return the twelve numbers of each shape that ``_normals`` uses."""
    balls, cones, triangles = shapes
    lean = 1.0 - cones.slope * cones.slope
    cone = [cones.start, cones.along, (cones.radius * cones.slope)[..., None], 1 / lean[..., None]]
    joined = [balls.centre, torch.cat(cone, dim=-1), triangles.normal]
    rows = [
        pad(j, (first, 12 - first - j.shape[-1]))
        for j, first in zip(joined, (0, 0, 8), strict=True)
    ]
    rows[0][..., 11] = 1.0
    rows[1][..., 11] = 1.0
    return torch.cat(rows, dim=1).nan_to_num(0.0, 0.0, 0.0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
