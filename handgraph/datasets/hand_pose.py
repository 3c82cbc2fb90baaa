"""Distribution of hand poses: joint limits, coupled joints and gestures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handgraph._check import check_between
from handgraph.datasets.draws import bell, spread, uniform_of
from handgraph.datasets.gestures import sample_gestures
from handgraph.datasets.kinematics import Array, HandAngles
from handgraph.skeletons import FINGERS

Limits = tuple[tuple[float, float], ...]

_THUMB = FINGERS.index("thumb")
_SPLAY = np.array([0.0, 0.6, 0.15, -0.3, -0.75])  # each finger's fraction of the common splay


@dataclass(frozen=True)
class HandPose:
    r"""A distribution of hand poses.

    The curl of the fingers is correlated (0.6), and each mcp is correlated with its finger's curl.
    The dip's flexion is the pip's times a random factor for each finger, plus noise. All fingers
    share the splay, which keeps them in order. The splay decreases with the flexion of the mcp. The
    thumb's last joint and abduction are independent. A fraction of the hands makes a gesture
    instead (:data:`handgraph.datasets.gestures.GESTURES`).

    Args:
        fingers: Minimum and maximum flexion of the four fingers at mcp, pip and dip.
        thumb: Minimum and maximum flexion of the thumb at mcp, pip and dip.
        dip_factor: Mean and standard deviation of the ratio of the dip's flexion to the pip's.
        dip_range: Minimum and maximum of this ratio.
        dip_stray: Standard deviation of the noise added to the dip's flexion.
        splay: Minimum and maximum common splay, as fractions of ``abduction``.
        stray: Standard deviation of the noise added to each finger's abduction.
        abduction: Scale of the common splay, and largest abduction of the thumb to either side.
        gestures: Fraction of the hands that make a gesture.
        clearance: Smallest allowed distance between the bones of two fingers, or of a finger and
            the palm, relative to the sum of their radii. Poses below it are drawn again. 0 disables
            the check, so fingers may intersect.

    Units:
        Angles in degrees; fractions and factors have no unit.

    Raises:
        ValueError: If a range is reversed, or a number is out of its range.

    Example:
        >>> angles = HandPose().sample(np.random.default_rng(0), 1000)
        >>> bool((angles.flexion[:, 1:, 1] >= -15).all())
        True
    """

    fingers: Limits = ((-20, 90), (-15, 110), (-15, 95))
    thumb: Limits = ((-20, 40), (-15, 85), (-20, 90))
    dip_factor: tuple[float, float] = (0.62, 0.25)
    dip_range: tuple[float, float] = (0.1, 1.2)
    dip_stray: float = 5.0
    splay: tuple[float, float] = (-0.3, 1.0)
    stray: float = 5.0
    abduction: float = 24.0
    gestures: float = 0.5
    clearance: float = 0.4

    def __post_init__(self) -> None:
        """Check all numbers."""
        ranges = {"fingers": self.fingers, "thumb": self.thumb}
        for name, limits in ranges.items():
            if len(limits) != 3 or not all(-90 <= low < high <= 180 for low, high in limits):
                raise ValueError(
                    f"HandPose: expected {name} as least and largest degrees of mcp, pip and dip, "
                    f"each from -90 to 180, got {limits}"
                )
        for name, (low, high) in {"dip_range": self.dip_range, "splay": self.splay}.items():
            if not -5 <= low < high <= 5:
                raise ValueError(
                    f"HandPose: expected {name} as (least, largest), got {low}, {high}"
                )
        for name, largest in _LARGEST.items():
            check_between(getattr(self, name), f"{name} of HandPose", 0, largest)

    @classmethod
    def narrow(cls) -> HandPose:
        """Return poses without gestures, with a nearly fixed dip factor; fingers may intersect."""
        return cls(
            fingers=((-20, 90), (0, 110), (0, 85)), thumb=((-15, 30), (-10, 55), (-10, 80)),
            dip_factor=(0.6, 0.05), dip_range=(0.45, 0.75), dip_stray=0.0, splay=(-0.2, 1.0),
            stray=1.6, abduction=20.0, gestures=0.0, clearance=0.0,
        )  # fmt: skip

    def limits(self) -> Array:
        """Return the minimum and maximum flexion, ``[5, 3, 2]`` degrees, thumb to pinky."""
        return np.array([self.thumb, *[self.fingers] * 4], dtype=np.float64)

    def sample(self, rng: np.random.Generator, num_hands: int) -> HandAngles:
        """Draw poses.

        Shapes:
            output: flexion ``[n, 5, 3]``, abduction ``[n, 5]``.

        Units:
            Degrees.
        """
        flexion = self._flexion(rng, (num_hands, len(FINGERS)))
        abduction = self._abduction(rng, flexion[..., 0])
        if not self.gestures:
            return HandAngles(flexion, abduction)
        gesture = sample_gestures(rng, num_hands)
        chosen = rng.random(num_hands) < self.gestures
        low, high = np.moveaxis(self.limits(), -1, 0)
        return HandAngles(
            np.where(chosen[:, None, None], gesture.flexion.clip(low, high), flexion),
            np.where(chosen[:, None], gesture.abduction, abduction),
        )

    def _flexion(self, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        curl = np.sqrt(0.6) * rng.standard_normal((shape[0], 1))
        curl = curl + np.sqrt(0.4) * rng.standard_normal(shape)
        follow = 0.6 * curl + 0.8 * rng.standard_normal(shape)
        free = rng.standard_normal(shape)  # used for the thumb's last joint only
        share = np.stack([uniform_of(follow), uniform_of(curl) ** 1.3, uniform_of(free)], axis=-1)
        low, high = np.moveaxis(self.limits(), -1, 0)
        flexion: Array = low + (high - low) * share
        dip = self._dip(rng, flexion[..., 1]).clip(low[:, 2], high[:, 2])
        flexion[:, 1:, 2] = dip[:, 1:]
        return flexion

    def _dip(self, rng: np.random.Generator, pip: Array) -> Array:
        mean, deviation = self.dip_factor
        factor = (mean + deviation * bell(rng, pip.shape)).clip(*self.dip_range)
        return np.asarray(factor * pip + spread(rng, self.dip_stray, pip.shape))

    def _abduction(self, rng: np.random.Generator, mcp: Array) -> Array:
        splay = rng.uniform(*self.splay, (len(mcp), 1)) * self.abduction * _SPLAY
        splay = splay + spread(rng, self.stray, mcp.shape)
        largest = self.limits()[:, 0, 1]
        abduction = splay * (1.0 - 0.8 * np.maximum(mcp, 0.0) / largest)
        abduction[:, _THUMB] = rng.uniform(-self.abduction, self.abduction, len(mcp))
        return np.asarray(abduction)


_LARGEST = {
    "dip_stray": 30.0, "stray": 30.0, "abduction": 60.0, "gestures": 1.0, "clearance": 1.0,
}  # fmt: skip
