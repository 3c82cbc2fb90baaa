"""Pinhole cameras: one for a batch of images, or one for each hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from handgraph.datasets.kinematics import Array


class Camera(NamedTuple):
    """A square pinhole camera whose principal point is the centre of the image.

    Args:
        image_size: Width and height in pixels; integer coordinates are pixel centres.
        focal: Focal length in pixels.
    """

    image_size: int
    focal: float

    @property
    def centre(self) -> float:
        """The principal point in pixels, the same for u and v."""
        return (self.image_size - 1) / 2


class Cameras(NamedTuple):
    """Pinhole cameras of n hands, all with images of the same size.

    Args:
        image_size: As in :class:`Camera`.
        focal: Focal lengths in pixels, ``[n]``.
    """

    image_size: int
    focal: Array

    @property
    def centre(self) -> float:
        """The principal point in pixels, the same for u and v."""
        return (self.image_size - 1) / 2

    def matrix(self) -> Array:
        """Return the intrinsic matrices K in pixels, ``[n, 3, 3]``.

        Example:
            >>> Cameras(256, np.array([500.0])).matrix().tolist()
            [[[500.0, 0.0, 127.5], [0.0, 500.0, 127.5], [0.0, 0.0, 1.0]]]
        """
        matrix = np.zeros((len(self.focal), 3, 3))
        matrix[:, 0, 0] = matrix[:, 1, 1] = self.focal
        matrix[:, :2, 2], matrix[:, 2, 2] = self.centre, 1.0
        return matrix

    def project(self, xyz: Array) -> Array:
        """Project hands in the camera frame, ``[n, J, 3]`` metres, to ``[n, J, 2]`` pixels."""
        focal = self.focal[:, None, None]
        return np.asarray(focal * xyz[..., :2] / xyz[..., 2:] + self.centre)
