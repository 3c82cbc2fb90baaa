"""Scaling of pixels to [-1, 1], the input range of the networks, and back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph._check import check_positive
from handgraph.geometry import denormalize_uv, normalize_uv, transform_intrinsics
from handgraph.transforms.base import (
    HandTransform,
    pixel_names,
    renew_features,
    require,
    require_camera,
    require_sides,
)


class NormalizeKeypoints(HandTransform):
    r"""Scale pixels of a square image to [-1, 1]; :meth:`inverse` restores pixels.

    ``uv`` and every entry whose name starts with ``uv_`` are normalised by
    :func:`handgraph.geometry.normalize_uv`. ``K`` is changed so that it projects ``xyz`` to [-1,
    1]. ``image``, ``mask`` and ``depth`` are unchanged. Apply transforms that use pixels before
    this one.

    Args:
        image_size: Side of the image.

    Units:
        Pixels -> half image sides, (u, v) order, 0 at the image centre.

    Raises:
        ValueError: If the size is not positive, or if a ``Data`` has no pixels, a ``K`` that is not
            ``[1, 3, 3]``, or an image of another size.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.transforms import NormalizeKeypoints
        >>> hand = HAND.to_data(uv=torch.full((21, 2), 255.5))
        >>> normalize = NormalizeKeypoints(256)
        >>> normalize(hand).uv[0].tolist(), normalize.inverse(normalize(hand)).uv[0].tolist()
        ([1.0, 1.0], [255.5, 255.5])
    """

    def __init__(self, image_size: int) -> None:
        check_positive(image_size, "image_size")
        self.image_size = image_size

    def forward(self, data: Data) -> Data:
        """Normalise pixels and ``K``."""
        size = self.image_size
        self._map_camera(data, 2 / size, 1 / size - 1)
        for name in pixel_names(data):
            data[name] = normalize_uv(data[name], size)
        return data

    def inverse(self, data: Data) -> Data:
        """Return a copy of ``data`` in pixels."""
        pixels = data.clone()
        size = self.image_size
        self._map_camera(pixels, size / 2, (size - 1) / 2)
        for name in pixel_names(pixels):
            pixels[name] = denormalize_uv(pixels[name], size)
        return renew_features(data, pixels)

    def _map_camera(self, data: Data, zoom: float, shift: float) -> None:
        require(self, data, *([] if pixel_names(data) else ["uv"]))
        require_sides(self, data, height=self.image_size, width=self.image_size)
        if "K" in data:
            require_camera(self, data)
            data.K = transform_intrinsics(_zoom(zoom, shift, data.K), data.K)

    def __repr__(self) -> str:
        """Show the size of the image."""
        return f"NormalizeKeypoints({self.image_size})"


def _zoom(zoom: float, shift: float, like: Tensor) -> Tensor:
    rows = [[zoom, 0.0, shift], [0.0, zoom, shift], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)
