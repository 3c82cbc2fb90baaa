"""What a 2D keypoint detector makes of a hand: a model of its errors, score and depth cue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.datasets.kinematics import Array

SNAPPED, PULLED = 0.35, 0.35
"""Shares of the hidden joints that are put onto, or pulled toward, a visible joint nearby."""

SEPARATION = 1.8124
"""Distance of the scores' two means in standard deviations: AUC = Phi(1.8124 / sqrt 2) = 0.90."""

CUE_NOISE = 0.5
"""Standard deviation of the depth cue's error, in keybone lengths."""

REACH, FREE = 6.0, 10.0
"""How near a joint attracts others, and the deviation of free ones; pixels of a 256 pixel image."""


class Detections(NamedTuple):
    """Detected positions, with the effects of occlusion and without.

    Shapes:
        uv, uv_clean: ``[n, J, 2]``, pixels (u, v).
    """

    uv: Array
    uv_clean: Array


def detect(
    rng: np.random.Generator,
    uv: Array,
    visible: NDArray[np.bool_],
    noise: float,
    image_size: int,
) -> Detections:
    """Disturb true positions as a detector does.

    A visible joint is found with Gaussian noise. A hidden joint is put onto a visible joint nearby
    (35 %), pulled toward one by 20-60 % of the way (35 %), or put anywhere around its place (30 %
    and wherever no joint is visible), always with the same noise on top. Nearby joints are likelier
    (weight ``exp(-distance / 6)`` at 256 pixels). The median error of hidden joints is about 15
    pixels at 256 and grows with the image.

    Args:
        rng: Source of random numbers.
        uv: True positions.
        visible: Which joints are visible.
        noise: Standard deviation of the noise for each coordinate.
        image_size: Side of the image.

    Shapes:
        uv: ``[n, J, 2]``; visible: ``[n, J]``.

    Units:
        Pixels, (u, v). Positions may fall outside the image.

    Example:
        >>> uv, visible = np.array([[[50.0, 60.0], [80.0, 90.0]]]), np.array([[True, False]])
        >>> found = detect(np.random.default_rng(0), uv, visible, 1.5, 256)
        >>> bool((found.uv[0, 0] == found.uv_clean[0, 0]).all())
        True
    """
    unit = image_size / 256
    jitter = noise * rng.standard_normal(uv.shape)
    kind, way = rng.random(visible.shape), rng.uniform(0.2, 0.6, visible.shape)
    free = uv + unit * FREE * rng.standard_normal(uv.shape)
    target = _visible_joint_nearby(rng, uv, visible, unit * REACH)
    way = np.where(kind < SNAPPED, 1.0, way)
    moved = uv + way[..., None] * (target - uv)
    stays = (kind >= SNAPPED + PULLED) | ~visible.any(axis=-1, keepdims=True)
    hidden = np.where(stays[..., None], free, moved)
    return Detections(np.where(visible[..., None], uv, hidden) + jitter, uv + jitter)


def _visible_joint_nearby(
    rng: np.random.Generator, uv: Array, visible: NDArray[np.bool_], reach: float
) -> Array:
    """Draw a visible joint for each joint, nearby ones likelier, and give its position.

    A race: each joint arrives after an exponential time of rate ``exp(-distance / reach)``.
    """
    u, v = uv[..., 0], uv[..., 1]
    distance = np.hypot(u[:, :, None] - u[:, None], v[:, :, None] - v[:, None])
    arrival = rng.standard_exponential(distance.shape) * np.exp(distance / reach)
    chosen = np.where(visible[:, None], arrival, np.inf).argmin(axis=-1)
    return np.take_along_axis(uv, chosen[..., None], axis=1)


def confidence(noise: Array, visible: NDArray[np.bool_]) -> Array:
    r"""Give the detector's score: how likely each joint is to be visible.

    With c the :data:`SEPARATION`, :math:`x \sim N(\pm c/2, 1)` for visible and hidden joints; the
    score :math:`\sigma(c x)` is the probability of "visible" given x if both are equally frequent.
    It orders visible before hidden joints with AUC 0.90.

    Args:
        noise: Standard normal numbers.
        visible: Which joints are visible.

    Shapes:
        noise, visible, output: ``[*]``.

    Example:
        >>> confidence(np.zeros(2), np.array([True, False])).round(2).tolist()
        [0.84, 0.16]
    """
    x = np.where(visible, SEPARATION / 2, -SEPARATION / 2) + noise
    return np.asarray(1.0 / (1.0 + np.exp(-SEPARATION * x)))
