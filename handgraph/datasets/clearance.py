"""Distances of the fingers of a hand to each other and to the palm."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from handgraph.datasets.kinematics import Array
from handgraph.datasets.occlusion import hand_capsules
from handgraph.skeletons import FINGERS, HAND


def finger_clearance(xyz: Array, scale: Array) -> Array:
    """Return the smallest distance between two fingers' bones, divided by the sum of their radii.

    The bones are the axes of the capsules that model the hand's surface
    (:func:`handgraph.datasets.occlusion.hand_capsules`). The minimum is over all pairs of bones of
    different fingers, and over the last two bones of each finger with the bones of the palm. Below
    1 the surfaces overlap. At 0 the bones intersect.

    Args:
        xyz: Joints in the order of :data:`handgraph.skeletons.HAND`.
        scale: The subject's size.

    Shapes:
        xyz: ``[n, 21, 3]``; scale: ``[n]``; output: ``[n]``.

    Units:
        xyz in metres, in any frame; the output has no unit.

    Example:
        >>> from handgraph.datasets.hand_shape import HandShape
        >>> from handgraph.datasets.kinematics import HandAngles, forward_kinematics
        >>> flat = HandAngles(np.zeros((5, 3)), np.zeros(5))
        >>> xyz = forward_kinematics(flat, HandShape.narrow().mean())[None]
        >>> finger_clearance(xyz, np.ones(1)).round(2).tolist()
        [0.95]
    """
    start, end, radius = hand_capsules(xyz, scale)
    first, second = _PAIRS
    gap = segment_distance(start[:, first], end[:, first], start[:, second], end[:, second])
    return np.asarray((gap / (radius[:, first] + radius[:, second])).min(axis=-1))


def segment_distance(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Return the distance between the segments from a to b and from c to d.

    The closest points of the two lines are clamped to the segments, one after the other (Ericson,
    *Real-Time Collision Detection*, 5.1.9).

    Shapes:
        a, b, c, d: ``[*, 3]``; output: ``[*]``.

    Example:
        >>> corners = np.array([[0.0, 0, 0], [1, 0, 0], [2, 3, 0], [2, 4, 0]])
        >>> segment_distance(*corners).round(3).item()  # from (1, 0) to (2, 3)
        3.162
    """
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = _dot(u, u), _dot(v, v), _dot(u, v)
    uw, vw = _dot(u, w), _dot(v, w)
    across = uu * vv - uv * uv
    along = ((uv * vw - vv * uw) / np.maximum(across, 1e-12 * uu * vv)).clip(0.0, 1.0)
    other = ((uv * along + vw) / vv).clip(0.0, 1.0)
    along = ((uv * other - uw) / uu).clip(0.0, 1.0)
    return np.sqrt(_square(w, along, u, other, v))


def _square(w: Array, along: Array, u: Array, other: Array, v: Array) -> Array:
    apart = w + along[..., None] * u - other[..., None] * v
    return _dot(apart, apart)


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])


def _pairs() -> NDArray[np.intp]:
    """Return the pairs of bones to compare, as indices into ``HAND.bones``, ``[2, P]``."""
    ends = [HAND.joints[child] for child in HAND.bones[1].tolist()]
    bone = {name: place for place, name in enumerate(ends)}
    free = {
        finger: [bone[f"{finger}_{end}"] for end in ("pip", "dip", "tip")] for finger in FINGERS
    }
    pairs = [(i, j) for f, g in combinations(FINGERS, 2) for i in free[f] for j in free[g]]
    palm = [bone[f"{finger}_mcp"] for finger in FINGERS if finger != "thumb"]
    pairs += [(i, j) for finger in FINGERS for i in free[finger][1:] for j in palm]
    return np.array(pairs).T


_PAIRS = _pairs()
