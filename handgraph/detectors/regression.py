"""Model of a detector that regresses all joints of a hand jointly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from handgraph.detectors.base import Detections, Found, Truth, check_fields
from handgraph.detectors.randomness import Random

_JOINTS = 21  # number of joints that the defaults are fitted to


@dataclass(frozen=True)
class RegressionDetector:
    r"""A model of regression detectors: occlusion moves all joints, and the confidence is constant.

    If k of 21 joints are occluded, they move by a common random vector of standard deviation
    :math:`\sqrt{\mathrm{together}}\,(\mathrm{shift} + \mathrm{growth} \cdot k)`, and each of them
    also by its own vector with the rest of the variance. A visible joint at distance r
    from the nearest occluded one moves by :math:`e^{-r / \mathrm{reach}}` times the common vector.
    The depth cue is the joint's depth with a scale error and a bias of the whole hand, and noise of
    standard deviation :math:`\mathrm{cue\_noise} + \mathrm{cue\_growth} \cdot k^2` at each joint.
    The confidence is always 0.5.

    The defaults are fitted to MediaPipe Hands 0.10.21 on photos with 3 to 12 covered joints:
    occluded joints move by 14 to 27 pixels, visible ones by 3.5 to 15, and the length of the mean
    move is 0.67 to 0.86 of the mean length of the moves.

    Args:
        noise: Standard deviation of the noise on u and on v of all joints.
        shift: Standard deviation of the moves at k = 0.
        growth: Increase of this standard deviation per occluded joint.
        together: Fraction of the variance that is common to all joints.
        reach: Decay length of the moves of visible joints.
        cue_bias: Standard deviation of the bias of the depth cues of a hand.
        cue_scale: Standard deviation of their relative scale error.
        cue_noise: Standard deviation of the noise of each depth cue at k = 0.
        cue_growth: Factor of :math:`k^2` in this standard deviation.

    Units:
        noise in pixels of the image; shift, growth and reach in pixels of an image of 256, scaled
        to other sizes; cue_bias, cue_noise and cue_growth in keybone lengths.

    Raises:
        ValueError: If a number is negative or not finite, or ``together`` exceeds 1.

    Example:
        >>> import torch
        >>> from handgraph.detectors import RegressionDetector
        >>> from handgraph.transforms import simulate_occlusion
        >>> uv, one = 10 * torch.arange(42.0).view(21, 2), torch.ones(21, 1)
        >>> found = simulate_occlusion(
        ...     uv, one, one, torch.arange(21) < 5, detector=RegressionDetector(together=1.0)
        ... )
        >>> move = found.uv - uv
        >>> torch.allclose(move[0], move[4], atol=1e-4), bool(move[20].norm() < move[0].norm())
        (True, True)
    """

    noise: float = 2.0
    shift: float = 7.7
    growth: float = 1.15
    together: float = 0.64
    reach: float = 50.0
    cue_bias: float = 0.3
    cue_scale: float = 0.15
    cue_noise: float = 0.34
    cue_growth: float = 0.0035

    def __post_init__(self) -> None:
        """Check all numbers."""
        check_fields(self)
        if self.together > 1:
            raise ValueError(
                f"RegressionDetector: expected together of at most 1, got {self.together}"
            )

    def observe(self, rng: Random, truth: Truth, image_size: int) -> Detections:
        """Simulate the detection of joints with known positions."""
        clean = truth.uv + self.noise * rng.normal(truth.uv.shape)
        hand = rng.normal((*truth.d.shape[:-1], 2, 1))
        scale, bias = self.cue_scale * hand[..., 0, :], self.cue_bias * hand[..., 1, :]
        noise = rng.normal(truth.d.shape)
        hidden = ~truth.visible
        z, growth = truth.d * (1 + scale) + bias, self._cue_growth(hidden, truth.d)
        uv = clean + self._moves(rng, truth.uv, hidden, image_size / 256)
        unknown = torch.full_like(truth.d, 0.5).unsqueeze(-1)
        return Detections(
            Found(uv, (z + (self.cue_noise + growth) * noise).unsqueeze(-1), unknown),
            Found(clean, (z + self.cue_noise * noise).unsqueeze(-1), unknown),
        )

    def occlude(
        self, rng: Random, clean: Found, hidden: Tensor, seen: Tensor, image_size: int
    ) -> Found:
        """Move all joints, with unchanged confidence; hands without occlusion stay the same."""
        growth = self._cue_growth(hidden, clean.cue)
        more = ((self.cue_noise + growth).square() - self.cue_noise**2).sqrt()
        cue = clean.cue + (more * rng.normal(hidden.shape)).unsqueeze(-1)
        moves = self._moves(rng, clean.uv, hidden, image_size / 256)
        return Found(clean.uv + moves, cue, clean.confidence)

    def _cue_growth(self, hidden: Tensor, like: Tensor) -> Tensor:
        growth: Tensor = self.cue_growth * _count(hidden, like).square()
        return growth

    def _moves(self, rng: Random, uv: Tensor, hidden: Tensor, unit: float) -> Tensor:
        """Draw the displacement of each joint, ``[*, J, 2]``; exactly 0 without occlusion."""
        deviation = unit * (self.shift + self.growth * _count(hidden, uv)).unsqueeze(-1)
        common = self.together**0.5 * rng.normal((*uv.shape[:-2], 1, 2))
        own = (1 - self.together) ** 0.5 * rng.normal(uv.shape)
        near = torch.exp(-_to_hidden(uv, hidden) / (unit * self.reach))
        moves: Tensor = near.unsqueeze(-1) * common + own.where(hidden.unsqueeze(-1), 0.0)
        return deviation * moves


def _count(hidden: Tensor, like: Tensor) -> Tensor:
    """Return the number of occluded joints, scaled to 21 joints, ``[*, 1]``."""
    count: Tensor = _JOINTS * hidden.to(like.dtype).mean(dim=-1, keepdim=True)
    return count


def _to_hidden(uv: Tensor, hidden: Tensor) -> Tensor:
    """Return the distance of each joint to the nearest occluded one, ``[*, J]``, or infinity."""
    known = hidden & uv.isfinite().all(dim=-1)
    distance = torch.cdist(uv.nan_to_num(0.0), uv.nan_to_num(0.0))
    nearest = distance.where(known.unsqueeze(-2), torch.inf).amin(dim=-1)
    return nearest.where(~hidden, 0.0)
