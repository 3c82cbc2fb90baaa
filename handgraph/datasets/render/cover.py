"""Candidate tiles of each shape: from bounding boxes, then by a test of each tile."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.camera import Camera
from handgraph.datasets.render.shapes import Balls, Cones, Rays, Triangles, cross, dot

TILE = 8
"""Side of a tile in pixels."""

_NEAR = 0.02  # shapes nearer than this, in metres, may cover the whole image


def tiles_per_side(camera: Camera) -> int:
    """Return the number of tiles that cover a row of pixels."""
    return -(-camera.image_size // TILE)


class Boxes(NamedTuple):
    """Bounding boxes of projected shapes in tiles, both ends included, ``[n, P]`` each."""

    left: Tensor
    right: Tensor
    top: Tensor
    bottom: Tensor


def cover(boxes: Boxes, side: int) -> tuple[Tensor, Tensor]:
    """List all pairs of a shape and a tile in its box; shapes are numbered over all images."""
    left, right, top, bottom = (edge.flatten() for edge in boxes)
    width = (right - left + 1).clamp(min=0)
    count = width * (bottom - top + 1).clamp(min=0)
    which = torch.repeat_interleave(count)
    place = torch.arange(len(which), device=which.device) - (count.cumsum(0) - count)[which]
    below = torch.div(place, width[which], rounding_mode="floor")
    return which, (top[which] + below) * side + left[which] + place - below * width[which]


def ball_boxes(balls: Balls, camera: Camera) -> Boxes:
    """Return bounding boxes of projected balls, empty for NaN."""
    return _to_tiles(*_ball_edges(balls), camera)


def cone_boxes(cones: Cones, camera: Camera) -> Boxes:
    """Return bounding boxes of projected cones, which contain both ends."""
    ends = Balls(cones.start, cones.radius), _far_end(cones)
    low, high = (torch.stack(edges) for edges in zip(*map(_ball_edges, ends), strict=True))
    return _to_tiles(low.amin(0), high.amax(0), camera)


def triangle_boxes(triangles: Triangles, camera: Camera) -> Boxes:
    """Return bounding boxes of projected triangles, empty for back faces."""
    points = triangles.corners
    ratio = points[..., :2] / points[..., 2:]
    low, high = _unless_near(ratio.amin(-2), ratio.amax(-2), points[..., 2].amin(-1))
    faces = dot(triangles.normal, points[..., 0, :]) < 0.0
    return _to_tiles(torch.where(faces[..., None], low, torch.inf), high, camera)


def cone_may_meet(middle: Rays, cones: Cones, spread: float) -> Tensor:
    """Return whether any ray within ``spread`` of the middle ray in (x, y) may hit the cone.

    The test uses the distance between axis and middle ray, perpendicular to the ray.
    """
    ray = torch.stack([middle.x, middle.y, torch.ones_like(middle.x)], dim=-1)
    end = _far_end(cones)
    start = _across(cones.start, ray, middle)
    step = _across(end.centre, ray, middle) - start
    place = -dot(start, step) / dot(step, step).clamp(min=1e-12)
    nearest = start + place.clamp(0.0, 1.0)[..., None] * step
    thick = torch.maximum(cones.radius, end.radius)
    reach = thick + spread * (torch.maximum(cones.start[..., 2], end.centre[..., 2]) + thick)
    return dot(nearest, nearest) <= reach * reach


def triangle_may_meet(middle: Rays, triangles: Triangles, spread: float) -> Tensor:
    """Return whether any ray may hit the triangle: none does if all lie outside of one edge."""
    first, second, third = triangles.corners.unbind(-2)
    may = torch.ones_like(middle.x, dtype=torch.bool)
    for a, b in ((first, second), (second, third), (third, first)):
        x, y, z = cross(a, b).unbind(-1)
        may = may & (x * middle.x + y * middle.y + z <= spread * (x.abs() + y.abs()))
    return may


def _far_end(cones: Cones) -> Balls:
    centre = cones.start + cones.length[..., None] * cones.along
    return Balls(centre, cones.radius - cones.slope * cones.length)


def _across(point: Tensor, ray: Tensor, rays: Rays) -> Tensor:
    """Return the component of a vector perpendicular to a ray."""
    return point - (dot(point, ray) / rays.square)[..., None] * ray


def _ball_edges(balls: Balls) -> tuple[Tensor, Tensor]:
    """Return bounds of x / z and y / z of balls, ``[*, 2]`` each."""
    radius = balls.radius[..., None]
    near, far = balls.centre[..., 2:] - radius, balls.centre[..., 2:] + radius
    low, high = balls.centre[..., :2] - radius, balls.centre[..., :2] + radius
    low = torch.where(low < 0.0, low / near, low / far)
    high = torch.where(high > 0.0, high / near, high / far)
    return _unless_near(low, high, near[..., 0])


def _unless_near(low: Tensor, high: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """Make the bounds of shapes near the camera infinite."""
    near = (nearest < _NEAR)[..., None]
    return torch.where(near, -torch.inf, low), torch.where(near, torch.inf, high)


def _to_tiles(low: Tensor, high: Tensor, camera: Camera) -> Boxes:
    low, high = (camera.focal * edge + camera.centre for edge in (low, high))
    low = low.nan_to_num(torch.inf, torch.inf, -torch.inf).clamp(0, camera.image_size)
    high = high.nan_to_num(-torch.inf, torch.inf, -torch.inf).clamp(-1, camera.image_size - 1)
    first = torch.div(low.floor(), TILE, rounding_mode="floor").long()
    last = torch.div(high.ceil(), TILE, rounding_mode="floor").long()
    return Boxes(first[..., 0], last[..., 0], first[..., 1], last[..., 1])
