"""What a model of a detector is given, and what it says."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from handgraph.detectors.randomness import Random


class Truth(NamedTuple):
    """What is there to be detected.

    Shapes:
        uv: ``[*, J, 2]``, the joints' true positions in pixels (u, v).
        d: ``[*, J]``, their relative depths (Eq. 1) in keybone lengths.
        surface: ``[*, J]``, the same of what the image shows at each joint: its own skin, or the
            surface that hides it.
        visible: Bool ``[*, J]``.
    """

    uv: Tensor
    d: Tensor
    surface: Tensor
    visible: Tensor


class Found(NamedTuple):
    """What a detector says of each joint.

    Shapes:
        uv: ``[*, J, 2]``, pixels (u, v).
        cue: ``[*, J, 1]``, relative depth in keybone lengths.
        confidence: ``[*, J, 1]``, how likely the joint is to be visible; 0.5 without a score.
    """

    uv: Tensor
    cue: Tensor
    confidence: Tensor


class Detections(NamedTuple):
    """What a detector says, and what it would say if nothing were hidden."""

    found: Found
    clean: Found


class Detector(Protocol):
    """A model of a 2D keypoint detector. :class:`HeatmapDetector` is one."""

    def observe(self, rng: Random, truth: Truth, image_size: int) -> Detections:
        """Detect joints whose true positions are known."""

    def occlude(
        self, rng: Random, clean: Found, hidden: Tensor, seen: Tensor, image_size: int
    ) -> Found:
        """Change detections as if the ``hidden`` joints were hidden and ``seen`` ones visible."""
