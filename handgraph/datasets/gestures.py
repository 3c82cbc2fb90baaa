"""Everyday postures of the hand, from published joint angles.

A grasp has the mean angles of 11 everyday activities (Hume et al., *Functional range of motion of
the joints of the hand*, J. Hand Surg. 15A, 1990): 61, 60 and 39 degrees at the fingers' joints, 21
and 18 at the thumb's. A closed finger bends a little less than the active range of motion given by
the American Academy of Orthopaedic Surgeons (*Joint Motion*, 1965): 90, 100 and 90 degrees. The dip
bends much less, since the fingertip touches the palm. Other angles lie between open and closed.
"""

from __future__ import annotations

import numpy as np

from handgraph.datasets.draws import bell
from handgraph.datasets.kinematics import Array, HandAngles

_OPEN, _CLOSED, _GRASP = (2, 4, 2), (82, 98, 60), (61, 60, 39)
_REST, _HALF, _HOOK, _TABLE = (25, 35, 18), (45, 50, 28), (5, 90, 55), (70, 8, 4)
_THUMB_OPEN, _THUMB_REST, _THUMB_ACROSS = (-8, 0, 0), (5, 15, 15), (22, 40, 45)
_TOGETHER, _APART = (0, 0, 0, 0, 0), (-15, 13, 3, -6, -16)

GESTURES: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "flat": ((_THUMB_REST, _OPEN, _OPEN, _OPEN, _OPEN), _TOGETHER),
    "spread": ((_THUMB_OPEN, _OPEN, _OPEN, _OPEN, _OPEN), _APART),
    "rest": ((_THUMB_REST, _REST, _REST, _REST, _REST), _TOGETHER),
    "grasp": (((5, 21, 18), _GRASP, _GRASP, _GRASP, _GRASP), _TOGETHER),
    "fist": ((_THUMB_ACROSS, _CLOSED, _CLOSED, _CLOSED, _CLOSED), _TOGETHER),
    "thumbs up": ((_THUMB_OPEN, _CLOSED, _CLOSED, _CLOSED, _CLOSED), _TOGETHER),
    "point": ((_THUMB_ACROSS, _OPEN, _CLOSED, _CLOSED, _CLOSED), _TOGETHER),
    "victory": ((_THUMB_ACROSS, _OPEN, _OPEN, _CLOSED, _CLOSED), _APART),
    "pinch": (((12, 22, 20), _HALF, _REST, _REST, _REST), _TOGETHER),
    "hook": ((_THUMB_REST, _HOOK, _HOOK, _HOOK, _HOOK), _TOGETHER),
    "table": ((_THUMB_REST, _TABLE, _TABLE, _TABLE, _TABLE), _TOGETHER),
}
"""Flexion ``5 x 3`` and abduction ``5`` in degrees, as in ``HandAngles``, of each gesture."""

OWN_SHARE = 0.7
"""Fraction of hands in which each finger has its own random gesture."""

FLEXION_SPREAD, ABDUCTION_SPREAD = 9.0, 3.0
"""Standard deviations around a gesture's angles, in degrees."""

_FLEXION = np.array([flexion for flexion, _ in GESTURES.values()], dtype=np.float64)
_ABDUCTION = np.array([abduction for _, abduction in GESTURES.values()], dtype=np.float64)


def sample_gestures(rng: np.random.Generator, num_hands: int) -> HandAngles:
    """Draw gestures with equal probability, and add noise to their angles.

    In 70 % of the hands, the gesture is drawn for each finger independently.

    Shapes:
        output: flexion ``[n, 5, 3]``, abduction ``[n, 5]``.

    Units:
        Degrees.

    Example:
        >>> sample_gestures(np.random.default_rng(0), 4).flexion.shape
        (4, 5, 3)
    """
    whole = rng.integers(len(GESTURES), size=(num_hands, 1))
    own = rng.integers(len(GESTURES), size=(num_hands, 5))
    which = np.where(rng.random((num_hands, 1)) < OWN_SHARE, own, whole)
    finger = np.arange(5)
    flexion: Array = _FLEXION[which, finger] + FLEXION_SPREAD * bell(rng, (num_hands, 5, 3))
    abduction: Array = _ABDUCTION[which, finger] + ABDUCTION_SPREAD * bell(rng, (num_hands, 5))
    return HandAngles(flexion, abduction)
