"""Model of joints that a detector does not report."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from handgraph._check import (
    check_between,
    check_count,
    check_like,
    check_points,
    check_range,
    check_skeleton,
)
from handgraph.detectors.randomness import Random, TorchRandom
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND
from handgraph.subgraph import RemovalSets

WAYS = ("joints", "fingers", "region", "border", "score")
"""Patterns of missing joints."""

MIN_JOINTS = 4
"""Minimum number of reported joints; a hand with fewer is reported completely."""


@dataclass(frozen=True)
class Missing:
    """A distribution of missing joints.

    Each hand with missing joints follows one of these patterns, all equally likely:

    - ``"joints"``: 1 to ``joints`` random joints
    - ``"fingers"``: 1 to ``fingers`` whole fingers
    - ``"region"``: joints within a radius of a random joint
    - ``"border"``: joints beyond one side of the image, which cuts off up to half of the hand
    - ``"score"``: joints with a confidence below a threshold

    A hand that would keep fewer than 4 joints keeps all.

    Args:
        share: Fraction of the hands with missing joints.
        ways: Names of the patterns.
        joints: Largest number of single joints.
        fingers: Largest number of fingers.
        radius: Minimum and maximum radius of a region.
        threshold: Minimum and maximum threshold of the confidence.
        skeleton: Skeleton of the joints; ``"fingers"`` needs one with fingers.

    Units:
        radius in pixels of an image of 256, scaled to other sizes.

    Raises:
        TypeError: If joints or fingers is not an integer, or ``skeleton`` is no skeleton.
        ValueError: If a number is out of its range, or a pattern is unknown.

    Example:
        >>> import torch
        >>> from handgraph.detectors import Missing
        >>> uv, score = 256 * torch.rand(1000, 21, 2), torch.rand(1000, 21)
        >>> source = torch.Generator().manual_seed(0)
        >>> lost = Missing(share=0.5).sample(uv, score, generator=source)
        >>> round(lost.any(-1).float().mean().item(), 1)
        0.5
    """

    share: float = 0.5
    ways: tuple[str, ...] = WAYS
    joints: int = 12
    fingers: int = 3
    radius: tuple[float, float] = (10.0, 80.0)
    threshold: tuple[float, float] = (0.1, 0.5)
    skeleton: Skeleton = HAND

    def __post_init__(self) -> None:
        """Check all arguments."""
        check_skeleton(self.skeleton, "Missing")
        if not self.ways or any(way not in WAYS for way in self.ways):
            raise ValueError(f"Missing: expected ways of {WAYS}, got {self.ways!r}")
        check_between(self.share, "share of Missing", 0, 1)
        check_count(self.joints, "joints of Missing", 0, self.skeleton.num_joints)
        check_count(self.fingers, "fingers of Missing", 0, 5)
        check_range(self.radius, "radius of Missing")
        check_range(self.threshold, "threshold of Missing", 1.0)

    def sample(
        self,
        uv: Tensor,
        score: Tensor,
        *,
        image_size: int = 256,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw the missing joints of each hand.

        Args:
            uv: Detected positions.
            score: Confidence of the joints.
            image_size: Side of the image in pixels.
            generator: Source of random numbers; PyTorch's own if None.

        Shapes:
            uv: ``[n, J, 2]``; score: ``[n, J]``; output: Bool ``[n, J]``, True where missing.

        Raises:
            ValueError: If a shape is wrong.
        """
        check_points(uv, "uv", 2)
        if uv.ndim != 3 or uv.shape[1] != self.skeleton.num_joints:
            raise ValueError(
                f"expected uv of shape [n, {self.skeleton.num_joints}, 2], got {list(uv.shape)}"
            )
        check_like(score, "score", uv[..., 0], "uv")
        return self.draw(TorchRandom(uv, generator), uv, score, image_size)

    def draw(self, rng: Random, uv: Tensor, score: Tensor, image_size: int) -> Tensor:
        """Draw missing joints as :meth:`sample` does, from any source of random numbers."""
        lost_by = {
            "joints": lambda: self._joints(rng, uv),
            "fingers": lambda: self._fingers(rng, uv),
            "region": lambda: self._region(rng, uv, image_size / 256),
            "border": lambda: self._border(rng, uv),
            "score": lambda: score < _between(self.threshold, rng.uniform((len(uv), 1))),
        }
        every = torch.stack([lost_by[way]() for way in self.ways])
        way = (rng.uniform((len(uv),)) * len(self.ways)).long().clamp(max=len(self.ways) - 1)
        lost = every[way, torch.arange(len(uv), device=uv.device)]
        chosen = rng.uniform((len(uv), 1)) < self.share
        enough = (~lost).sum(dim=-1, keepdim=True) >= MIN_JOINTS
        return lost & chosen & enough

    def _joints(self, rng: Random, uv: Tensor) -> Tensor:
        order = rng.uniform(uv.shape[:-1]).argsort(dim=-1)
        return order < _whole(rng, len(uv), self.joints)

    def _fingers(self, rng: Random, uv: Tensor) -> Tensor:
        fingers = ~RemovalSets.by_finger(self.skeleton).keep_mask.to(uv.device)
        order = rng.uniform((len(uv), len(fingers))).argsort(dim=-1)
        lost = order < _whole(rng, len(uv), self.fingers)
        joints: Tensor = (lost.unsqueeze(-1) & fingers).any(dim=1)
        return joints

    def _region(self, rng: Random, uv: Tensor, unit: float) -> Tensor:
        joint = (rng.uniform((len(uv), 1, 1)) * uv.shape[1]).long().clamp(max=uv.shape[1] - 1)
        middle = uv.take_along_dim(joint, dim=1)
        radius = unit * _between(self.radius, rng.uniform((len(uv), 1)))
        within: Tensor = torch.linalg.vector_norm(uv - middle, dim=-1) <= radius
        return within

    def _border(self, rng: Random, uv: Tensor) -> Tensor:
        """Select joints beyond a line parallel to one of the four sides."""
        side = (rng.uniform((len(uv), 1)) * 4).long().clamp(max=3)
        signed = torch.cat([uv, -uv], dim=-1).take_along_dim(side.unsqueeze(1), dim=-1)[..., 0]
        low, high = signed.amin(dim=-1, keepdim=True), signed.amax(dim=-1, keepdim=True)
        return signed > high - 0.5 * rng.uniform((len(uv), 1)) * (high - low)


def _between(limits: tuple[float, float], share: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * share


def _whole(rng: Random, number: int, most: int) -> Tensor:
    """Draw integers from 1 to ``most``, ``[number, 1]``; 0 if ``most`` is 0."""
    return (rng.uniform((number, 1)) * most).ceil().clamp(min=min(1, most))
