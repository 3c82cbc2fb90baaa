"""Distribution of views: viewing directions, and the size and place of hands in the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from handgraph._check import check_between, check_range
from handgraph.datasets.kinematics import Array, sample_rotations

_TO_CAMERA = np.diag([1.0, -1.0, -1.0])
"""Palm frame of an upright hand whose palm faces the camera."""


@dataclass(frozen=True)
class HandView:
    """A distribution of views: focal length, palm direction, and size and place in the image.

    The focal length and the fraction of the image that a hand fills determine its distance, and
    thus the strength of the perspective. By default hands are 0.3 to 1.3 metres away, as for phones
    and webcams.

    Args:
        focal: Focal lengths; each hand uses a random one.
        palm: Minimum and maximum angle between the palm's normal and the direction to the camera.
            Directions in this range are uniform per solid angle. The roll is uniform.
        fill: Minimum and maximum side of the joints' bounding box, as a fraction of the image side.
        shift: Largest shift of the box's centre, as a fraction of the remaining space.

    Units:
        focal in image sides: 2 is 512 pixels in an image of 256. palm in degrees: at 0 the palm
        faces the camera, at 180 the back of the hand does.

    Raises:
        ValueError: If a range is reversed, or a number is out of its range.

    Example:
        >>> palms = HandView(palm=(0, 30)).sample_palms(np.random.default_rng(0), 100)
        >>> bool((palms[:, 2, 2] < -0.86).all())  # toward the camera, against z
        True
    """

    focal: tuple[float, ...] = (1.2, 1.65, 2.35, 3.3, 4.7)
    palm: tuple[float, float] = (0.0, 180.0)
    fill: tuple[float, float] = (0.6, 0.8)
    shift: float = 0.4

    def __post_init__(self) -> None:
        """Check all numbers."""
        if not self.focal or not all(0.1 <= focal <= 100.0 for focal in self.focal):
            raise ValueError(
                "HandView: expected focal lengths from 0.1 to 100 sides of the image, "
                f"got {self.focal}"
            )
        check_range(self.palm, "palm of HandView", 180.0)
        check_range(self.fill, "fill of HandView", 0.95)
        if self.fill[0] < 0.05:
            raise ValueError(f"HandView: expected fill of at least 0.05, got {self.fill[0]}")
        check_between(self.shift, "shift of HandView", 0, 0.5)

    @classmethod
    def narrow(cls) -> HandView:
        """Return views from all directions by one camera with a field of view of 29 degrees."""
        return cls(focal=(500 / 256,))

    def sample_palms(self, rng: np.random.Generator, num_hands: int) -> Array:
        """Draw palm frames in the camera frame, ``[n, 3, 3]`` (columns x, y, z)."""
        if self.palm == (0.0, 180.0):
            return sample_rotations(rng, num_hands)
        low, high = np.cos(np.radians(self.palm[::-1]))
        tilt = np.degrees(np.arccos(rng.uniform(low, high, num_hands)))
        turn, roll = rng.uniform(0.0, 360.0, (2, num_hands))
        angles = np.stack([roll, tilt, turn], axis=-1)
        return np.asarray(Rotation.from_euler("zyz", angles, degrees=True).as_matrix() @ _TO_CAMERA)

    def sample_focal(self, rng: np.random.Generator, num_hands: int) -> Array:
        """Draw a focal length for each hand, ``[n]``, in image sides."""
        if len(self.focal) == 1:
            return np.full(num_hands, self.focal[0])
        return np.asarray(rng.choice(self.focal, num_hands))

    def sample_places(self, rng: np.random.Generator, num_hands: int) -> tuple[Array, Array]:
        """Draw the fraction of the image that each hand fills, ``[n]``, and shifts ``[n, 2]``."""
        fill = rng.uniform(*self.fill, num_hands)
        return fill, rng.uniform(-self.shift, self.shift, (num_hands, 2)) * (1.0 - fill[:, None])
