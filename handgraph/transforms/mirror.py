"""A left hand becomes a right hand."""

from __future__ import annotations

from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from handgraph._check import check_positive
from handgraph.datasets.rhd.layout import swap_hands
from handgraph.geometry import mirror_hand, mirror_matrix, transform_points
from handgraph.transforms.base import (
    picture_names,
    pixel_names,
    require,
    require_camera,
    require_pixels,
    require_sides,
)


class MirrorHand(BaseTransform):
    """Mirror the image of a hand, and the hand with it.

    Pixels (``uv`` and every entry whose name starts with ``uv_``) go to W - 1 - u; ``xyz`` and
    ``K`` change by :func:`handgraph.geometry.mirror_hand`, so that they still project to each
    other. ``image``, ``mask`` and ``depth`` are mirrored, and the classes of the mask (RHD's)
    change sides. Relative depths, scores and cues stay. Mirroring twice gives the hand back.

    Args:
        width: Width of the image.

    Units:
        Pixels.

    Raises:
        ValueError: If the width is not positive, or if a ``Data`` has no ``uv`` and no ``xyz``, has
            ``xyz`` without ``K``, a ``K`` that is not ``[1, 3, 3]``, a picture of another width, or
            a picture and joints that are not in its pixels.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.transforms import MirrorHand
        >>> hand = SyntheticHands(1)[0]
        >>> mirrored = MirrorHand(256)(hand)
        >>> bool((mirrored.uv[:, 0] == 255 - hand.uv[:, 0]).all())
        True
    """

    def __init__(self, width: int) -> None:
        check_positive(width, "width")
        self.width = width

    def forward(self, data: Data) -> Data:
        """Replace pixels, pictures, ``xyz`` and ``K``."""
        names = pixel_names(data)
        require(self, data, *([] if names else ["K", "xyz"]))
        require_sides(self, data, width=self.width)
        require_pixels(self, data)
        if "xyz" in data or "K" in data:
            require_camera(self, data)
            xyz = data.xyz if "xyz" in data else data.K.new_zeros(0, 3)
            xyz, data.K = mirror_hand(xyz.unsqueeze(0), data.K, self.width)
            if "xyz" in data:
                data.xyz = xyz.squeeze(0)
        for name in names:
            uv = data[name]
            mirror = mirror_matrix(self.width, dtype=uv.dtype, device=uv.device)
            data[name] = transform_points(mirror, uv)
        for name in picture_names(data):
            mirrored = data[name].flip(-1)
            data[name] = swap_hands(mirrored) if name == "mask" else mirrored
        return data

    def __repr__(self) -> str:
        """Show the width."""
        return f"MirrorHand({self.width})"
