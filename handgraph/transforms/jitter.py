"""Gaussian noise on detected positions."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from handgraph._check import check_points
from handgraph.transforms.base import RandomTransform, normal_like, require


class JitterKeypoints(RandomTransform):
    """Add Gaussian noise to ``uv``, independently for each joint and coordinate.

    ``uv_true`` and all other entries are unchanged.

    Args:
        noise: Standard deviation for u and for v.
        generator: Random generator. Default: PyTorch's global generator, which data loaders seed in
            each worker. Other generators raise an error in a worker.

    Units:
        noise in the unit of uv: pixels, or normalised coordinates.

    Raises:
        TypeError: If ``generator`` is neither a ``torch.Generator`` nor None, or ``uv`` is not
            floating point.
        ValueError: If noise is negative or not finite, or a ``Data`` has no ``uv`` ``[*, J, 2]``.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.transforms import JitterKeypoints
        >>> hand = HAND.to_data(uv=torch.zeros(21, 2))
        >>> jitter = JitterKeypoints(2.0, generator=torch.Generator().manual_seed(0))
        >>> 1.0 < jitter(hand).uv.std().item() < 3.0
        True
    """

    def __init__(self, noise: float = 1.5, *, generator: torch.Generator | None = None) -> None:
        if not 0 <= noise < float("inf"):
            raise ValueError(f"expected noise to be finite and not negative, got {noise}")
        super().__init__(generator)
        self.noise = noise

    def forward(self, data: Data) -> Data:
        """Add noise to ``uv``."""
        require(self, data, "uv")
        check_points(data.uv, "uv", 2)
        data.uv = data.uv + self.noise * normal_like(data.uv, self.generator)
        return data

    def __repr__(self) -> str:
        """Show the noise."""
        return f"JitterKeypoints({self.noise})"
