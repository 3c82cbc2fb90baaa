"""Checks of the arguments of :class:`handgraph.datasets.SyntheticHands`."""

from __future__ import annotations

from collections.abc import Sequence

from handgraph.datasets.hand_pose import HandPose
from handgraph.datasets.hand_shape import HandShape
from handgraph.datasets.hand_view import HandView
from handgraph.datasets.scene import HandModel
from handgraph.detectors import Detector, HeatmapDetector, Missing


def hand_model(shape: HandShape | None, pose: HandPose | None, view: HandView | None) -> HandModel:
    """Combine the distributions, with defaults for those that are ``None``."""
    given = {"shape": (shape, HandShape), "pose": (pose, HandPose), "view": (view, HandView)}
    for name, (value, kind) in given.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"SyntheticHands: {name} must be a {kind.__name__}, got {type(value).__name__}"
            )
    return HandModel(shape or HandShape(), pose or HandPose(), view or HandView())


def as_detectors(detector: Detector | Sequence[Detector] | None) -> tuple[Detector, ...]:
    """Return a detector, or a sequence of detectors, as a tuple."""
    detectors = detector if isinstance(detector, list | tuple) else [detector or HeatmapDetector()]
    known = [hasattr(one, "observe") and not isinstance(one, type) for one in detectors]
    if not detectors or not all(known):
        raise TypeError(
            "SyntheticHands: detector must be a detector, such as HeatmapDetector(), or a "
            f"sequence of them, got {detector!r}"
        )
    return tuple(detectors)


def check_missing(missing: object) -> None:
    """Raise unless ``missing`` is a rule or ``None``."""
    if missing is not None and not isinstance(missing, Missing):
        raise TypeError(f"SyntheticHands: missing must be a Missing or None, got {missing!r}")
