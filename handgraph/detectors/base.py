"""Inputs and outputs of detector models."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from handgraph.detectors.randomness import Random


class Truth(NamedTuple):
    """Ground truth that a detector model observes.

    Shapes:
        - uv: ``[*, J, 2]``, the joints' true positions in pixels (u, v)
        - d: ``[*, J]``, relative depths (Eq. 1) in keybone lengths
        - surface: ``[*, J]``, relative depths of the first surfaces on the rays to the joints
        - visible: Bool ``[*, J]``

    Example:
        >>> import torch
        >>> from handgraph.detectors import HeatmapDetector, Truth
        >>> from handgraph.detectors.randomness import TorchRandom
        >>> uv, d = torch.rand(4, 21, 2), torch.zeros(4, 21)
        >>> truth = Truth(uv, d, d, visible=torch.ones(4, 21, dtype=torch.bool))
        >>> seen = HeatmapDetector().observe(TorchRandom(uv, None), truth, 256)
        >>> torch.equal(seen.found.uv, seen.clean.uv)  # all are visible
        True
    """

    uv: Tensor
    d: Tensor
    surface: Tensor
    visible: Tensor


class Found(NamedTuple):
    """Detected position, depth cue and confidence of each joint.

    Shapes:
        - uv: ``[*, J, 2]``, pixels (u, v)
        - cue: ``[*, J, 1]``, relative depth in keybone lengths
        - confidence: ``[*, J, 1]``, probability that the joint is visible; 0.5 if unknown

    Example:
        >>> import torch
        >>> from handgraph.detectors import Found
        >>> Found(torch.zeros(21, 2), torch.zeros(21, 1), torch.full((21, 1), 0.5)).uv.shape
        torch.Size([21, 2])
    """

    uv: Tensor
    cue: Tensor
    confidence: Tensor


class Detections(NamedTuple):
    """Detections with occlusion, and the same detections without it.

    Example:
        >>> import torch
        >>> from handgraph.detectors import Detections, Found
        >>> detected = Found(torch.zeros(21, 2), torch.zeros(21, 1), torch.full((21, 1), 0.5))
        >>> Detections(detected, detected).found.cue.shape
        torch.Size([21, 1])
    """

    found: Found
    clean: Found


class Detector(Protocol):
    """A model of a 2D keypoint detector: a class with these two methods.

    Example:
        >>> import torch
        >>> from handgraph.detectors import Found
        >>> from handgraph.transforms import simulate_occlusion
        >>> class Blind:  # sets hidden joints to (0, 0)
        ...     def observe(self, rng, truth, image_size): ...
        ...     def occlude(self, rng, clean, hidden, seen, image_size):
        ...         uv = clean.uv.masked_fill(hidden.unsqueeze(-1), 0.0)
        ...         return Found(uv, clean.cue, clean.confidence)
        >>> uv, one = torch.ones(21, 2), torch.ones(21, 1)
        >>> simulate_occlusion(uv, one, one, torch.arange(21) < 5, detector=Blind()).uv.sum().item()
        32.0
    """

    def observe(self, rng: Random, truth: Truth, image_size: int) -> Detections:
        """Simulate the detection of joints with known positions."""

    def occlude(
        self, rng: Random, clean: Found, hidden: Tensor, seen: Tensor, image_size: int
    ) -> Found:
        """Simulate occlusion of the ``hidden`` joints; ``seen`` joints are visible."""


def check_fields(detector: object) -> None:
    """Raise unless all numbers of a detector are finite and not negative."""
    for name, value in vars(detector).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(0 <= number < float("inf") for number in numbers):
            raise ValueError(
                f"{type(detector).__name__}: expected {name} to be finite and not negative, "
                f"got {value}"
            )
