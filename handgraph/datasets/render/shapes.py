r"""Closed-form intersection of rays with balls, cone sides and triangles.

A ray leaves the camera's centre in the direction :math:`r = (x, y, 1)`, so the point at depth z is
:math:`z r`. Batch dimensions of shapes and rays broadcast. The arithmetic is elementwise and in a
fixed order, so the bits of a pixel's depth do not depend on the batch. Comparisons and roots of
negative numbers are slow on CPUs. Each condition for a hit is therefore a number, its violation. A
ray hits if the largest violation is not positive. In-place operations save a third of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MISS = 1e9
"""Depth of a miss in metres."""

FAR = 1e6
"""Upper bound of the depth of a hit in metres."""


class Rays(NamedTuple):
    """Rays from the camera, with the point ``(z * x, z * y, z)`` at depth z.

    Shapes:
        x, y: ``[*]``; square: ``[*]``, squared length of (x, y, 1).
    """

    x: Tensor
    y: Tensor
    square: Tensor


def make_rays(x: Tensor, y: Tensor) -> Rays:
    """Return the rays in the directions (x, y, 1)."""
    return Rays(x, y, x * x + y * y + 1.0)


class Balls(NamedTuple):
    """Balls: ``centre [*, 3]`` and ``radius [*]``, in metres."""

    centre: Tensor
    radius: Tensor


class Cones(NamedTuple):
    """Sides of the cones that touch two balls: a cone and its balls bound their convex hull.

    Shapes:
        start: ``[*, 3]``, centre of the first ball.
        along: ``[*, 3]``, unit vector toward the second centre.
        length: ``[*]``, distance of the centres.
        radius: ``[*]``, radius of the first ball.
        slope: ``[*]``, decrease of the radius per metre along the axis. If its magnitude is 1 or
            more, one ball contains the other, and the cone has no side.
    """

    start: Tensor
    along: Tensor
    length: Tensor
    radius: Tensor
    slope: Tensor


class Triangles(NamedTuple):
    """One-sided triangles: ``corners [*, 3, 3]`` and outward ``normal [*, 3]``.

    Corners are counter-clockwise around the normal.
    """

    corners: Tensor
    normal: Tensor


def cones_between(first: Balls, second: Balls) -> Cones:
    """Return the cone that touches two balls.

    Example:
        >>> small = Balls(torch.tensor([0.0, 0, 5]), torch.tensor(1.0))
        >>> large = Balls(torch.tensor([4.0, 0, 5]), torch.tensor(2.0))
        >>> cones_between(small, large).slope.item()
        -0.25
    """
    step = second.centre - first.centre
    length = norm(step)
    along = step / length[..., None]
    return Cones(first.centre, along, length, first.radius, (first.radius - second.radius) / length)


def wedge_faces(first: Balls, second: Balls, third: Balls) -> Triangles:
    r"""Return the two triangles that touch three balls; with the cones they bound the hull.

    A plane with unit normal n touches the balls if :math:`n \cdot (c_i - c_0) = r_0 - r_i`. This
    determines the component of n in the plane of the centres. The other component has two signs,
    one for each triangle. If no such plane exists, the triangles are NaN, and no ray hits them.

    Shapes:
        output: ``[*, 2]`` triangles.

    Example:
        >>> balls = [Balls(torch.tensor(c), torch.tensor(1.0)) for c in
        ...          ([0.0, 0, 5], [1.0, 0, 5], [0.0, 1, 5])]
        >>> wedge_faces(*balls).normal.tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    """
    u, v = second.centre - first.centre, third.centre - first.centre
    across = cross(u, v)
    area = dot(across, across)[..., None]
    grow_u, grow_v = first.radius - second.radius, first.radius - third.radius
    within = grow_u[..., None] * cross(v, across) + grow_v[..., None] * cross(across, u)
    within = within / area
    rest = (1.0 - dot(within, within)).sqrt()[..., None] * across / area.sqrt()
    normal = torch.stack([within + rest, within - rest], dim=-2)
    balls = (first, second, third)
    touch = [b.centre[..., None, :] + b.radius[..., None, None] * normal for b in balls]
    front = torch.stack([corner[..., 0, :] for corner in touch], dim=-2)
    back = torch.stack([corner[..., 1, :] for corner in reversed(touch)], dim=-2)
    return Triangles(torch.stack([front, back], dim=-3), normal)


def ball_depth(rays: Rays, balls: Balls) -> Tensor:
    """Return the depth where each ray enters each ball; :data:`MISS` where it misses.

    Units:
        Metres along z; the camera lies outside the ball.

    Example:
        >>> ray = make_rays(torch.tensor(0.0), torch.tensor(0.0))
        >>> ball_depth(ray, Balls(torch.tensor([0.0, 0, 5]), torch.tensor(1.0))).item()
        4.0
    """
    x, y, square = rays
    z = balls.centre[..., 2]
    wx, wy = (x * z).sub_(balls.centre[..., 0]), (y * z).sub_(balls.centre[..., 1])
    toward = (wx * x).add_(wy * y)
    rest = wx.square_().add_(wy.square_()).sub_(balls.radius * balls.radius)
    inside = (toward * toward).sub_(rest.mul_(square))
    depth = toward.add_(inside.clamp(min=0.0).sqrt_()).div_(square).neg_().add_(z)
    return _hits(depth, inside.neg_())


def cone_depth(rays: Rays, cones: Cones) -> Tensor:
    r"""Return the depth where each ray enters each cone's side, between the two balls.

    With q the point on the ray relative to the start, :math:`s = q \cdot a` its position along the
    axis, and r and :math:`\sigma` radius and slope, the side satisfies
    :math:`(1 - \sigma^2)(|q|^2 - s^2) = (r - \sigma s)^2`, a quadratic equation in the depth. A
    point on the side touches the ball around :math:`(s - \sigma r) / (1 - \sigma^2)` on the axis,
    which must lie between the ends. The code divides by :math:`1 - \sigma^2`, the square of
    ``lean``.

    Units:
        Metres along z; :data:`MISS` where a ray misses.

    Example:
        >>> ray = make_rays(torch.tensor(0.5), torch.tensor(0.0))
        >>> ends = [Balls(torch.tensor(c), torch.tensor(1.0)) for c in ([0.0, 0, 5], [9.0, 0, 5])]
        >>> cone_depth(ray, cones_between(*ends)).item()
        4.0
    """
    x, y, square = rays
    lean = (1.0 - cones.slope * cones.slope).sqrt()
    ax, ay, az = (cones.along / lean[..., None]).unbind(-1)
    z, radius = cones.start[..., 2], cones.radius
    wx, wy = (x * z).sub_(cones.start[..., 0]), (y * z).sub_(cones.start[..., 1])
    turn = (ax * x).add_(ay * y).add_(az)
    place = (ax * wx).add_(ay * wy).sub_(radius * cones.slope / lean)
    b = (wx * x).add_(wy * y).sub_(turn * place)
    c = wx.square_().add_(wy.square_()).sub_(radius * radius).sub_(place * place)
    a = (turn * turn).neg_().add_(square)
    inside = (b * b).sub_(c.mul_(a))
    step = inside.clamp(min=0.0).sqrt_().add_(b).div_(a).neg_()
    touch = turn.mul_(step).add_(place)
    beyond = torch.maximum(-touch, touch.sub_(lean * cones.length))
    return _hits(step.add_(z), torch.maximum(beyond, inside.neg_()))


def triangle_depth(rays: Rays, triangles: Triangles) -> Tensor:
    """Return the depth where each ray hits the outer side of each triangle, or :data:`MISS`.

    Example:
        >>> corners = torch.tensor([[0.0, 0, 2], [0.0, 1, 2], [1.0, 0, 2]])
        >>> facing = Triangles(corners, torch.tensor([0.0, 0, -1]))
        >>> triangle_depth(make_rays(torch.tensor(0.1), torch.tensor(0.1)), facing).item()
        2.0
    """
    first, second, third = triangles.corners.unbind(-2)
    sides = (_toward(rays, cross(a, b)) for a, b in ((first, second), (second, third)))
    outside = torch.maximum(*sides)
    outside = torch.maximum(outside, _toward(rays, cross(third, first)))
    depth = dot(triangles.normal, first) / _toward(rays, triangles.normal)
    return _hits(depth, outside)  # all rays are outside of a back face


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return inner products over the last dimension of size 3, summed in a fixed order."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def norm(a: Tensor) -> Tensor:
    """Return the length of vectors in the last dimension of size 3."""
    return dot(a, a).sqrt()


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Return cross products over the last dimension of size 3."""
    return torch.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        dim=-1,
    )


def _toward(rays: Rays, vector: Tensor) -> Tensor:
    return vector[..., 0] * rays.x + vector[..., 1] * rays.y + vector[..., 2]


def _hits(depth: Tensor, violation: Tensor) -> Tensor:
    """Return positive depths without violation, and :data:`MISS` elsewhere, including NaN."""
    violation = torch.maximum(violation, -depth).relu_()
    return violation.mul_(1e30).add_(depth).nan_to_num_(MISS, MISS, MISS).clamp_(max=MISS)
