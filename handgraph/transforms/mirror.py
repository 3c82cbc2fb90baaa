"""A left hand becomes a right hand."""

from __future__ import annotations

from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from handgraph._check import check_positive, check_skeleton
from handgraph.datasets.rhd.layout import swap_hands
from handgraph.geometry import mirror_hand, mirror_matrix, transform_points
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND
from handgraph.transforms.base import (
    picture_names,
    pixel_names,
    require,
    require_camera,
    require_pixels,
    require_sides,
)

OF_JOINTS = ("xyz", "d", "visible", "found", "confidence", "cue")
"""Entries with a row for each joint, beside the pixels."""


class MirrorHand(BaseTransform):
    """Mirror the image of a hand, and the hand with it.

    Joints of the left become those of the right and the reverse, if the skeleton has such
    (:meth:`handgraph.Skeleton.swap_sides`): all entries of joints are reordered.
    Pixels (``uv`` and every entry whose name starts with ``uv_``) go to W - 1 - u; ``xyz`` and
    ``K`` change by :func:`handgraph.geometry.mirror_hand`, so that they still project to each
    other. ``image``, ``mask`` and ``depth`` are mirrored, and the classes of the mask (RHD's)
    change sides, and ``left`` is negated. Relative depths, scores and cues stay. Mirroring twice
    gives the hand back.

    Args:
        width: Width of the image.
        skeleton: Whose joints they are.

    Units:
        Pixels.

    Raises:
        ValueError: If the width is not positive or a joint has no counterpart, or if a ``Data`` has
            no ``uv`` and no ``xyz``, another number of joints, ``xyz`` without ``K``, a ``K`` that
            is not ``[1, 3, 3]``, a picture of another width, or a picture and joints that are not
            in its pixels.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.transforms import MirrorHand
        >>> hand = SyntheticHands(1)[0]
        >>> mirrored = MirrorHand(256)(hand)
        >>> bool((mirrored.uv[:, 0] == 255 - hand.uv[:, 0]).all())
        True
    """

    def __init__(self, width: int, skeleton: Skeleton = HAND) -> None:
        check_positive(width, "width")
        check_skeleton(skeleton, "MirrorHand")
        self.width = width
        self.skeleton = skeleton
        self.order = skeleton.swap_sides()

    def forward(self, data: Data) -> Data:
        """Replace pixels, pictures, ``xyz`` and ``K``."""
        names = pixel_names(data)
        require(self, data, *([] if names else ["K", "xyz"]))
        require_sides(self, data, width=self.width)
        require_pixels(self, data)
        if "xyz" in data or "K" in data:
            require_camera(self, data)
        self._swap_sides(data, names)
        if "left" in data:
            data.left = ~data.left
        if "K" in data:
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

    def _swap_sides(self, data: Data, names: list[str]) -> None:
        """Give each joint what its counterpart on the other side had."""
        joints = self.skeleton.num_joints
        for name in (*names, *(name for name in OF_JOINTS if name in data)):
            if len(data[name]) != joints:
                raise ValueError(
                    f"MirrorHand: expected {name} of the {joints} joints of {self.skeleton.name} "
                    f"(give skeleton=... for others), got {list(data[name].shape)}"
                )
            data[name] = data[name][self.order.to(data[name].device)]

    def __repr__(self) -> str:
        """Show the width and the skeleton."""
        return f"MirrorHand({self.width}, {self.skeleton.name})"
