"""Surfaces of hands, forearms and objects as shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.render.anatomy import BALLS, BONES, CONES, OBJECT, WEDGES
from handgraph.datasets.render.shapes import (
    Balls,
    Cones,
    Triangles,
    cones_between,
    wedge_faces,
)
from handgraph.datasets.render.stage import Stage
from handgraph.skeletons import HAND

ARM_LENGTH = 0.24
"""Length of the rendered forearm in metres, for a hand of mean size."""


class Shapes(NamedTuple):
    """Shapes of images: balls, cones and triangles, ``[n, number]`` of each kind."""

    balls: Balls
    cones: Cones
    triangles: Triangles


def hand_shapes(stage: Stage) -> Shapes:
    """Cover hands and forearms with balls, cones and triangles.

    Example:
        >>> from handgraph.datasets.render.example import open_hand
        >>> shapes = hand_shapes(open_hand())
        >>> shapes.balls.radius.shape, shapes.cones.length.shape, shapes.triangles.normal.shape
        (torch.Size([1, 30]), torch.Size([1, 46]), torch.Size([1, 40, 3]))
    """
    balls = _place_balls(stage)
    cones = cones_between(*(_pick(balls, column) for column in _CONES))
    faces = wedge_faces(*(_pick(balls, column) for column in _WEDGES))
    triangles = Triangles(faces.corners.flatten(1, 2), faces.normal.flatten(1, 2))
    return Shapes(_pick(balls, _SKIN), cones, triangles)


def object_shapes(stage: Stage) -> Shapes:
    """Return the object of each image: two balls and a cone, or the 12 triangles of a box.

    Unused shapes are NaN, so no ray hits them.
    """
    none = torch.full((), torch.nan, device=stage.xyz.device)
    radius = torch.where(stage.kind == 1, stage.radius, none)[:, None]
    first, second = (Balls(stage.capsule[:, end, None], radius) for end in (0, 1))
    balls = Balls(stage.capsule, radius.expand(-1, 2))
    half = torch.where((stage.kind == 2)[:, None], stage.half, none)
    return Shapes(balls, cones_between(first, second), _box_triangles(stage.box, stage.axes, half))


def join(first: Shapes, second: Shapes) -> Shapes:
    """Concatenate the shapes of the same images by kind."""
    return Shapes(
        Balls(*_beside(first.balls, second.balls)),
        Cones(*_beside(first.cones, second.cones)),
        Triangles(*_beside(first.triangles, second.triangles)),
    )


def bone_labels(device: torch.device) -> Tensor:
    """Return the bone of each shape of ``join(hand_shapes, object_shapes)``, ``[P]``."""
    return _BONE_OF_SHAPE.to(device)


def shape_numbers(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices of hand and object in ``join(hand_shapes, object_shapes)``."""
    is_object = bone_labels(device) == BONES.index(OBJECT)
    numbers = torch.arange(len(_BONE_OF_SHAPE), device=device)
    return numbers[~is_object], numbers[is_object]


def _place_balls(stage: Stage) -> Balls:
    """Compute the balls of the table, ``[n, number]``."""
    joints, weights, offsets, radii, reach = (c.to(stage.xyz.device) for c in _CONSTANTS)
    centre = stage.xyz.new_zeros(len(stage.xyz), len(joints), 3)
    for k in range(_MOST):
        centre = centre + weights[:, k, None] * stage.xyz.index_select(1, joints[:, k])
    shift = _turn(stage.palm[:, None], offsets) + reach[:, None] * stage.forearm[:, None]
    centre = centre + stage.scale[:, None, None] * shift
    return Balls(centre, stage.scale[:, None] * radii)


def _box_triangles(centre: Tensor, axes: Tensor, half: Tensor) -> Triangles:
    """Return two triangles for each of the six faces of a box."""
    corners, outward = (constant.to(centre.device) for constant in (_BOX_CORNERS, _BOX_NORMALS))
    placed = _turn(axes[:, None, None], corners * half[:, None, None])
    return Triangles(centre[:, None, None] + placed, _turn(axes[:, None], outward))


def _turn(axes: Tensor, vector: Tensor) -> Tensor:
    """Rotate vectors from a frame with these axes (columns) to the camera frame."""
    return (
        vector[..., 0, None] * axes[..., 0]
        + vector[..., 1, None] * axes[..., 1]
        + vector[..., 2, None] * axes[..., 2]
    )


def _pick(balls: Balls, index: Tensor) -> Balls:
    index = index.to(balls.radius.device)
    return Balls(balls.centre.index_select(1, index), balls.radius.index_select(1, index))


def _beside(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> list[Tensor]:
    return [torch.cat(pair, dim=1) for pair in zip(first, second, strict=True)]


def _constants() -> tuple[Tensor, ...]:
    """Return joints, weights, offset, radius and shift along the arm of each ball."""
    balls = BALLS.values()
    joints = [[HAND.index(joint) for joint in ball.joints] for ball in balls]
    weights = [list(ball.joints.values()) for ball in balls]
    return (
        torch.tensor([row + [0] * (_MOST - len(row)) for row in joints]),
        _floats([row + [0.0] * (_MOST - len(row)) for row in weights]),
        1e-3 * _floats([ball.offset for ball in balls]),
        1e-3 * _floats([ball.radius for ball in balls]),
        _floats([ARM_LENGTH if name.startswith("arm_") else 0.0 for name in BALLS]),
    )


def _corner(spans: tuple[tuple[str, ...], ...], corner: int) -> Tensor:
    """Return the indices of the balls at one corner of all cones, or of all wedges."""
    names = list(BALLS)
    return torch.tensor([names.index(span[corner]) for span in spans])


def _shape_bones() -> list[str]:
    skin = [ball.bone for ball in BALLS.values() if ball.bone is not None]
    cones, wedges = [cone[-1] for cone in CONES], [wedge[-1] for wedge in WEDGES for _ in range(2)]
    return [*skin, OBJECT, OBJECT, *cones, OBJECT, *wedges, *[OBJECT] * 12]


def _box_faces() -> tuple[Tensor, Tensor]:
    """Return corners and outward normals of the 12 triangles of the box [-1, 1]^3."""
    corners, normals = [], []
    for axis in range(3):
        for side in (1.0, -1.0):
            square = []
            for a, b in ((-1.0, -1.0), (side, -side), (1.0, 1.0), (-side, side)):
                corner = [0.0, 0.0, 0.0]
                corner[axis], corner[(axis + 1) % 3], corner[(axis + 2) % 3] = side, a, b
                square.append(corner)
            corners += [[square[0], square[1], square[2]], [square[0], square[2], square[3]]]
            normals += [[side if k == axis else 0.0 for k in range(3)]] * 2
    return _floats(corners), _floats(normals)


def _floats(values: Sequence[object]) -> Tensor:
    """Return a float32 tensor, independent of PyTorch's default dtype."""
    return torch.tensor(values, dtype=torch.float32)


_MOST = max(len(ball.joints) for ball in BALLS.values())
_CONSTANTS = _constants()
_SKIN = torch.tensor([k for k, ball in enumerate(BALLS.values()) if ball.bone is not None])
_CONES = [_corner(CONES, corner) for corner in range(2)]
_WEDGES = [_corner(WEDGES, corner) for corner in range(3)]
_BONE_OF_SHAPE = torch.tensor([BONES.index(bone) for bone in _shape_bones()])
_BOX_CORNERS, _BOX_NORMALS = _box_faces()
