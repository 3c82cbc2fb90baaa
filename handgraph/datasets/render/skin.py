"""Unlit colours of skin: tones, palms, joints, folds and nails."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.datasets.render.anatomy import BONES
from handgraph.datasets.render.fields import Draws, bump, smooth_step
from handgraph.datasets.render.fragments import Fragments

TONES = (
    (246, 226, 212),
    (240, 210, 190),
    (232, 194, 168),
    (221, 176, 146),
    (205, 156, 124),
    (184, 132, 100),
    (158, 108, 78),
    (126, 83, 58),
    (96, 62, 44),
    (72, 47, 36),
)
"""Skin tones from light to dark, sRGB."""


class Skin(NamedTuple):
    """The skin of each image.

    Shapes:
        back, palm, nail: ``[n, 3]``, colours, linear RGB.
        spots, wrinkles: ``[n]``, strength of colour noise and of folds.
    """

    back: Tensor
    palm: Tensor
    nail: Tensor
    spots: Tensor
    wrinkles: Tensor


def draw_skin(draws: Draws) -> Skin:
    """Draw skin with uniformly distributed tones; palms are lighter than backs."""
    tones = draws.numbers.new_tensor(TONES) / 255.0
    place = draws.take(0.0, len(TONES) - 1.001)
    first = place.long()
    tone = tones[first] + (place - first)[:, None] * (tones[first + 1] - tones[first])
    tone = (tone + draws.take(-0.02, 0.02, 3)).clamp(0.08, 0.98).square()
    light = tone.new_tensor([0.62, 0.40, 0.33])
    pink = tone.new_tensor([0.05, -0.01, 0.0])
    palm = tone + draws.take(0.15, 0.4)[:, None] * (light - tone).relu()
    nail = 0.75 * palm + 0.25 * light + pink
    return Skin(tone, palm + 0.5 * pink, nail, draws.take(0.0, 0.25), draws.take(0.3, 1.0))


def paint_skin(seen: Fragments, skin: Skin, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Compute skin colours for all pixels.

    Shapes:
        noise: ``[m, 64]``, smooth, around 0; outputs: colour ``[3, m, 64]``, linear RGB, and nail
            mask ``[m, 64]``, 1 on nails.
    """
    image, (along, _), (_, up_side) = seen.tiles.image, seen.local, seen.facing
    kinds = _KINDS.to(image.device)
    finger, tip, palm = (torch.take(kind, seen.bone) for kind in kinds)
    palmar = smooth_step(0.5 - 0.9 * up_side)
    joints = finger * (bump(along / 0.16) + bump((along - 1.0) / 0.16))
    folds = _folds(seen, finger, palm, palmar) * skin.wrinkles[image][:, None]
    dark = 1.0 - 0.33 * folds - 0.10 * joints * (1.0 - palmar)
    dark = dark * (1.0 + skin.spots[image][:, None] * noise)
    redness = 0.10 * joints + 0.12 * tip * smooth_step(3.0 * along - 2.0)
    nail = tip * _nail(seen)
    colours = []
    for k, warm in enumerate((1.0, -0.6, -0.5)):
        back, front, hard = (colour[image, k, None] for colour in skin[:3])
        colour = (back + palmar * (front - back)) * dark * (1.0 + warm * redness)
        colours.append(colour + nail * (hard - colour))
    return torch.stack(colours), nail


def _folds(seen: Fragments, finger: Tensor, palm: Tensor, palmar: Tensor) -> Tensor:
    """Return folds at both ends of finger bones, and the three main lines of the palm.

    In the palm, y is the position along it and x across (to the thumb's side), in centimetres.
    """
    along, x = seen.local
    y = 9.0 * along
    across = bump((along - 0.03) / 0.045) + bump((along - 0.97) / 0.045)
    across = across + 0.6 * bump((along - 0.86) / 0.035)
    heart = bump((y - 6.7 - 0.5 * x - 0.06 * x * x) / 0.16) * smooth_step(1.6 - x)
    head = bump((y - 5.0 - 0.42 * x) / 0.15) * smooth_step(x + 3.2) * smooth_step(3.2 - x)
    round_thumb = ((x - 3.2).square() + (y - 2.6).square() + 1e-6).sqrt()
    life = bump((round_thumb - 3.1) / 0.16) * smooth_step(6.0 - y)
    lines = 1.2 * palm * palmar * (heart + head + life)
    return across * finger * (0.4 + 0.6 * palmar) + lines


def _nail(seen: Fragments) -> Tensor:
    """Return 1 on the distal part of a bone's dorsal side, else 0."""
    (along, _), (flat_side, up_side) = seen.local, seen.facing
    place, side = (along - 0.88) / 0.30, flat_side / 0.66
    inside = 1.0 - place.square().square() - side.square().square()
    return smooth_step(6.0 * inside) * smooth_step(4.0 * up_side - 0.9)


def _kinds() -> Tensor:
    """Return 1 or 0 for each bone: whether it lies in a finger, a fingertip or the palm."""
    ends = (("_pip", "_dip", "_tip"), "_tip", "_mcp")
    kinds = [[name.endswith(end) for name in BONES] for end in ends]
    return torch.tensor(kinds, dtype=torch.float32)


_KINDS = _kinds()
"""Indicators by bone; bones are named by their child joint, in the palm by a finger's base."""
