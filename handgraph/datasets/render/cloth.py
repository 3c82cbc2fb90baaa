"""Unlit colours of sleeves and objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.render.anatomy import BONES, OBJECT, PERSON
from handgraph.datasets.render.fields import Draws, smooth_step
from handgraph.datasets.render.fragments import Fragments


class Cloth(NamedTuple):
    """Patterns of sleeves and objects.

    Shapes:
        sleeve, first, second: ``[n, 3]``, colours of the sleeve and of the object's bands.
        cuff: ``[n]``, distance of the sleeve's end from the wrist, in units of 9 cm.
        stripe, turn: ``[n]``, frequency of the bands in radians per centimetre, and direction.
    """

    sleeve: Tensor
    first: Tensor
    second: Tensor
    cuff: Tensor
    stripe: Tensor
    turn: Tensor


def draw_cloth(draws: Draws) -> Cloth:
    """Draw sleeves, for 45 % of the images, and the patterns of objects."""
    sleeve, first, second = (_colour(draws) for _ in range(3))
    cuff = draws.take(0.35, 0.8) + 9.0 * draws.chance(0.55)
    return Cloth(sleeve, first, second, cuff, draws.take(0.5, 4.0), draws.take(0.0, 3.14))


def lay_cloth(colour: Tensor, seen: Fragments, cloth: Cloth, noise: Tensor) -> Tensor:
    """Colour forearms and objects, ``[3, m, 64]``; ``noise [m, 64]`` distorts the bands."""
    image, (along, across) = seen.tiles.image, seen.local
    arm, item = (torch.take(kind, seen.bone) for kind in _KINDS.to(image.device))
    sleeve = arm * smooth_step(40.0 * (-along - cloth.cuff[image][:, None]))
    turn = cloth.turn[image][:, None]
    wave = cloth.stripe[image][:, None] * (along * turn.cos() + across * turn.sin())
    band = smooth_step(0.5 + 1.5 * wave.sin() + 0.8 * noise)
    covered = []
    for k in range(3):
        arm_colour, first, second = (c[image, k, None] for c in cloth[:3])
        below = colour[k] + sleeve * (arm_colour * (1.0 + 0.2 * noise) - colour[k])
        pattern = (first + band * (second - first)) * (1.0 + 0.15 * noise)
        covered.append(below + item * (pattern - below))
    return torch.stack(covered)


def _colour(draws: Draws) -> Tensor:
    """Draw colours ``[n, 3]`` of random saturation."""
    colour, grey = draws.take(0.05, 0.85, 3), draws.take(0.0, 0.8)[:, None]
    return (colour + grey * (colour.mean(dim=1, keepdim=True) - colour)).square()


_KINDS = torch.tensor([[name == k for name in BONES] for k in (PERSON, OBJECT)]).to(torch.float32)
