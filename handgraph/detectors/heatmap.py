"""A detector that finds the peak of a heatmap for each joint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from handgraph.detectors.base import Detections, Found, Truth, check_numbers
from handgraph.detectors.randomness import Random


@dataclass(frozen=True)
class HeatmapDetector:
    r"""Hidden joints jump to visible ones nearby, visible joints stay, and scores tell them apart.

    A visible joint is found with Gaussian noise. A hidden joint is put onto a visible joint nearby,
    pulled toward one by 20 to 60 % of the way, or put anywhere around its place (and so wherever no
    joint is visible), with the same noise on top. A visible joint at distance r is chosen with
    weight :math:`e^{-r / \mathrm{reach}}`. The median error of hidden joints of
    :class:`handgraph.datasets.SyntheticHands` is about 15 pixels of 256.

    With c the separation, the score is :math:`\sigma(c x)` with :math:`x \sim N(\pm c/2, 1)` for
    visible and hidden joints: the probability of "visible" given x if both are equally frequent.
    1.8124 orders visible before hidden joints with AUC :math:`\Phi(c / \sqrt 2) = 0.90`.

    The depth cue is that of what the image shows: the joint, or the surface that hides it.

    Args:
        noise: Standard deviation of the noise on u and on v.
        snapped: Share of the hidden joints that are put onto a visible one.
        pulled: Share that is pulled toward one.
        reach: How near a visible joint attracts others.
        free: Standard deviation of the others around their places.
        separation: Distance of the scores' two means, in standard deviations.
        cue_noise: Standard deviation of the depth cue's error.
        gap: Least and largest distance of an object in front of the nearest joint that it hides,
            for :func:`handgraph.transforms.simulate_occlusion`, which knows no object.

    Units:
        noise in pixels of the image; reach and free in pixels of an image of 256, in proportion for
        others; cue_noise and gap in keybone lengths.

    Raises:
        ValueError: If a number is negative or not finite, or the shares exceed 1.

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
        check_numbers(self)
        if self.snapped + self.pulled > 1:
            raise ValueError(
                "HeatmapDetector: expected snapped + pulled of at most 1, "
                f"got {self.snapped} + {self.pulled}"
            )

    def observe(self, rng: Random, truth: Truth, image_size: int) -> Detections:
        """Detect joints whose true positions are known."""
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
        """Change the hidden joints alone; all others keep every bit."""
        uv = self._misplace(rng, clean.uv, seen, image_size / 256)
        uv = uv + self.noise * rng.normal(uv.shape)
        score = self.score(rng.normal(hidden.shape), torch.zeros_like(hidden))
        changed = Found(uv, self._object_cue(rng, clean.cue, hidden), score.unsqueeze(-1))
        pick = hidden.unsqueeze(-1)
        return Found(*(new.where(pick, old) for new, old in zip(changed, clean, strict=True)))

    def score(self, normal: Tensor, visible: Tensor) -> Tensor:
        """Give the score of each joint from standard normal numbers.

        Shapes:
            normal, visible, output: ``[*]``.
        """
        half = self.separation / 2
        return torch.sigmoid(self.separation * (normal + torch.where(visible, half, -half)))

    def _misplace(self, rng: Random, uv: Tensor, seen: Tensor, unit: float) -> Tensor:
        """Where each joint would be found if it were hidden, without noise. ``[*, J, 2]``."""
        kind, share = rng.uniform(seen.shape), rng.uniform(seen.shape)
        free = uv + unit * self.free * rng.normal(uv.shape)
        target = self._visible_nearby(rng, uv, seen, unit * self.reach)
        way = torch.where(kind < self.snapped, 1.0, 0.2 + (0.6 - 0.2) * share)
        moved = uv + way.unsqueeze(-1) * (target - uv)
        stays = (kind >= self.snapped + self.pulled) | ~seen.any(dim=-1, keepdim=True)
        return torch.where(stays.unsqueeze(-1), free, moved)

    def _visible_nearby(self, rng: Random, uv: Tensor, seen: Tensor, reach: float) -> Tensor:
        """Draw a visible joint for each joint, weights exp(-distance / reach). ``[*, J, 2]``.

        A race: each joint arrives after an exponential time of that rate. Its logarithm is
        compared, which cannot overflow.
        """
        u, v = uv.unbind(dim=-1)
        distance = torch.hypot(u.unsqueeze(-1) - u.unsqueeze(-2), v.unsqueeze(-1) - v.unsqueeze(-2))
        arrival = rng.exponential(distance.shape).log() + distance / reach
        known = (seen & uv.isfinite().all(dim=-1)).unsqueeze(-2)
        chosen = arrival.where(known, torch.inf).argmin(dim=-1)
        return uv.take_along_dim(chosen.unsqueeze(-1), dim=-2)

    def _object_cue(self, rng: Random, cue: Tensor, hidden: Tensor) -> Tensor:
        """Depth cue of the object that hides these joints, a plate that faces the camera."""
        nearest = cue.where(hidden.unsqueeze(-1), torch.inf).amin(dim=-2, keepdim=True)
        gap = self.gap[0] + (self.gap[1] - self.gap[0]) * rng.uniform(nearest.shape)
        return nearest - gap + self.cue_noise * rng.normal(cue.shape)


def _found(uv: Tensor, cue: Tensor, score: Tensor) -> Found:
    return Found(uv, cue.unsqueeze(-1), score.unsqueeze(-1))
