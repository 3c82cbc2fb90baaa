"""Model of a detector with a heatmap for each joint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from handgraph.detectors.base import Detections, Found, Truth, check_fields
from handgraph.detectors.randomness import Random


@dataclass(frozen=True)
class HeatmapDetector:
    r"""A model of heatmap detectors: occluded joints snap to visible ones and have low confidence.

    Visible joints have Gaussian noise. An occluded joint moves to a nearby visible joint, moves 20
    to 60 % of the way to one, or is scattered around its true position (always if no joint is
    visible). The same noise is added. A visible joint at distance r is chosen with weight
    :math:`e^{-r / \mathrm{reach}}`. The median error of occluded joints of
    :class:`handgraph.datasets.SyntheticHands` is about 15 pixels of 256.

    With c the separation, the confidence is :math:`\sigma(c x)` with :math:`x \sim N(\pm c/2, 1)`
    for visible and occluded joints. This is the probability of "visible" given x if both are
    equally frequent. A separation of 1.8124 gives an AUC of :math:`\Phi(c / \sqrt 2) = 0.90`.

    The depth cue is the noisy depth of the visible surface: the joint, or the occluder.

    Args:
        noise: Standard deviation of the noise on u and on v.
        snapped: Fraction of the occluded joints that move to a visible joint.
        pulled: Fraction of the occluded joints that move part of the way.
        reach: Decay length of the weight of visible joints.
        free: Standard deviation of the other occluded joints around their true positions.
        separation: Distance of the two means of x, in standard deviations.
        cue_noise: Standard deviation of the depth cue's error.
        gap: Minimum and maximum distance of an occluder in front of the nearest occluded joint, for
            :func:`handgraph.transforms.simulate_occlusion`, which has no objects.

    Units:
        noise in pixels of the image; reach and free in pixels of an image of 256, scaled to other
        sizes; cue_noise and gap in keybone lengths.

    Raises:
        ValueError: If a number is negative or not finite, or snapped + pulled exceeds 1.

    Example:
        >>> import torch
        >>> from handgraph.detectors import HeatmapDetector
        >>> from handgraph.transforms import simulate_occlusion
        >>> uv, one = 10 * torch.arange(42.0).view(21, 2), torch.ones(21, 1)
        >>> detector = HeatmapDetector(noise=0.0, snapped=1.0, pulled=0.0)
        >>> found = simulate_occlusion(uv, one, one, torch.arange(21) < 5, detector=detector)
        >>> bool((found.uv[:5, None] == uv[5:]).all(-1).any(-1).all())  # onto visible joints
        True
    """

    noise: float = 1.5
    snapped: float = 0.35
    pulled: float = 0.35
    reach: float = 6.0
    free: float = 10.0
    separation: float = 1.8124
    cue_noise: float = 0.5
    gap: tuple[float, float] = (0.0, 1.5)

    def __post_init__(self) -> None:
        """Check all numbers."""
        check_fields(self)
        if self.snapped + self.pulled > 1:
            raise ValueError(
                "HeatmapDetector: expected snapped + pulled of at most 1, "
                f"got {self.snapped} + {self.pulled}"
            )

    def observe(self, rng: Random, truth: Truth, image_size: int) -> Detections:
        """Simulate the detection of joints with known positions."""
        jitter = self.noise * rng.normal(truth.uv.shape)
        hidden = self._misplace(rng, truth.uv, truth.visible, image_size / 256)
        uv = truth.uv.where(truth.visible.unsqueeze(-1), hidden) + jitter
        score, noise = rng.normal(truth.d.shape), self.cue_noise * rng.normal(truth.d.shape)
        cue = truth.d.where(truth.visible, truth.surface) + noise
        everywhere = torch.ones_like(truth.visible)
        return Detections(
            _found(uv, cue, self.score(score, truth.visible)),
            _found(truth.uv + jitter, truth.d + noise, self.score(score, everywhere)),
        )

    def occlude(
        self, rng: Random, clean: Found, hidden: Tensor, seen: Tensor, image_size: int
    ) -> Found:
        """Simulate occlusion of the hidden joints; all other joints stay bit-identical."""
        uv = self._misplace(rng, clean.uv, seen, image_size / 256)
        uv = uv + self.noise * rng.normal(uv.shape)
        score = self.score(rng.normal(hidden.shape), torch.zeros_like(hidden))
        changed = Found(uv, self._object_cue(rng, clean.cue, hidden), score.unsqueeze(-1))
        pick = hidden.unsqueeze(-1)
        return Found(*(new.where(pick, old) for new, old in zip(changed, clean, strict=True)))

    def score(self, normal: Tensor, visible: Tensor) -> Tensor:
        """Compute the confidence of each joint from standard normal numbers.

        Shapes:
            normal, visible, output: ``[*]``.
        """
        half = self.separation / 2
        return torch.sigmoid(self.separation * (normal + torch.where(visible, half, -half)))

    def _misplace(self, rng: Random, uv: Tensor, seen: Tensor, unit: float) -> Tensor:
        """Return the position of each joint as if occluded, without noise, ``[*, J, 2]``."""
        kind, share = rng.uniform(seen.shape), rng.uniform(seen.shape)
        free = uv + unit * self.free * rng.normal(uv.shape)
        target = self._visible_nearby(rng, uv, seen, unit * self.reach)
        way = torch.where(kind < self.snapped, 1.0, 0.2 + (0.6 - 0.2) * share)
        moved = uv + way.unsqueeze(-1) * (target - uv)
        stays = (kind >= self.snapped + self.pulled) | ~seen.any(dim=-1, keepdim=True)
        return torch.where(stays.unsqueeze(-1), free, moved)

    def _visible_nearby(self, rng: Random, uv: Tensor, seen: Tensor, reach: float) -> Tensor:
        """Draw a visible joint for each joint with weight exp(-distance / reach), ``[*, J, 2]``.

        The joint with the smallest of exponential random numbers with these rates is chosen. Their
        logarithms are compared to avoid overflow.
        """
        u, v = uv.unbind(dim=-1)
        distance = torch.hypot(u.unsqueeze(-1) - u.unsqueeze(-2), v.unsqueeze(-1) - v.unsqueeze(-2))
        arrival = rng.exponential(distance.shape).log() + distance / reach
        known = (seen & uv.isfinite().all(dim=-1)).unsqueeze(-2)
        chosen = arrival.where(known, torch.inf).argmin(dim=-1)
        return uv.take_along_dim(chosen.unsqueeze(-1), dim=-2)

    def _object_cue(self, rng: Random, cue: Tensor, hidden: Tensor) -> Tensor:
        """Return depth cues of the occluder, a plate that faces the camera."""
        nearest = cue.where(hidden.unsqueeze(-1), torch.inf).amin(dim=-2, keepdim=True)
        gap = self.gap[0] + (self.gap[1] - self.gap[0]) * rng.uniform(nearest.shape)
        return nearest - gap + self.cue_noise * rng.normal(cue.shape)


def _found(uv: Tensor, cue: Tensor, score: Tensor) -> Found:
    return Found(uv, cue.unsqueeze(-1), score.unsqueeze(-1))
