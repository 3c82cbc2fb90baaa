"""Fit of a hand shape to measured hands."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgraph.datasets.hand_frame import HandMeasures, sideways
from handgraph.datasets.kinematics import Array
from handgraph.skeletons import FINGERS


def fit_shape(hands: HandMeasures) -> dict[str, Any]:
    """Return arguments of ``HandShape``; ``fan_spread`` is 0, since poses change the fan too."""
    millimetres = 1e3 * hands.lengths
    total = millimetres.sum(axis=(1, 2))
    size = (total / total.mean())[:, None, None]
    bones, bases = millimetres / size, 1e3 * hands.bases / size
    reach = np.linalg.norm(bases[:, 1:], axis=-1)
    reach = reach / reach.mean(axis=0)
    palm = reach.mean(axis=1)
    return {
        "bones": bones.mean(axis=0).round(2),
        "bases": bases.mean(axis=0).round(2),
        "fan": np.median(hands.abduction[:, 1:], axis=0).round(2),
        "size_spread": _deviation(size),
        "bone_spread": _deviation(bones / bones.mean(axis=0)),
        "base_spread": _deviation(reach / palm[:, None]),
        "palm_spread": _deviation(palm),
        "fan_spread": (0.0, 0.0, 0.0, 0.0),
        "thumb_spread": _thumb_deviation(bases[:, FINGERS.index("thumb")]),
    }


def _deviation(ratio: Array) -> float:
    return float(min(0.3, np.sqrt(ratio.var(axis=0).mean())).__round__(4))


def _thumb_deviation(base: Array) -> float:
    return float(min(30.0, sideways(base).std()).__round__(2))
