"""Mirroring, which turns a left hand into a right hand."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from handgraph._check import check_positive, check_skeleton
from handgraph.datasets.rhd.layout import swap_hands
from handgraph.geometry import mirror_hand, mirror_matrix, transform_points
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND
from handgraph.transforms.base import (
    HandTransform,
    picture_names,
    pixel_names,
    require,
    require_camera,
    require_pixels,
    require_sides,
)

OF_JOINTS = ("xyz", "d", "visible", "found", "confidence", "cue")
"""Entries that must have a row for each joint, other than pixels."""


class MirrorHand(HandTransform):
    """Mirror a hand and its image.

    If the skeleton has left and right joints, they are swapped in all entries with a row for each
    joint (:meth:`handgraph.Skeleton.swap_sides`). Pixels u (of ``uv`` and every entry whose name
    starts with ``uv_``) become W - 1 - u. ``xyz`` and ``K`` change by
    :func:`handgraph.geometry.mirror_hand`, so ``xyz`` still projects to the pixels. ``image``,
    ``mask`` and ``depth`` are mirrored, left and right classes of the mask (RHD's) are swapped, and
    ``left`` is negated. Relative depths, confidences and cues are unchanged. Mirroring twice is the
    identity.

    Args:
        width: Width of the image.
        skeleton: Skeleton of the joints.

    Units:
        width in pixels.

    Raises:
        ValueError: If the width is not positive or a joint has no counterpart, or if a ``Data`` has
            neither ``uv`` nor ``xyz``, a wrong number of joints, ``xyz`` without ``K``, a ``K``
            that is not ``[1, 3, 3]``, an image of another width, or an image together with
            normalised joints.

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
        """Mirror pixels, images, ``xyz`` and ``K``."""
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
        """Exchange the values of joints and their counterparts on the other side."""
        joints = self.skeleton.num_joints
        for name in (*names, *(name for name in OF_JOINTS if name in data)):
            if len(data[name]) != joints:
                raise ValueError(
                    f"MirrorHand: expected {name} of the {joints} joints of {self.skeleton.name} "
                    f"(give skeleton=... for others), got {list(data[name].shape)}"
                )
        for name, value in data.to_dict().items():
            rows = value.shape[:1] if isinstance(value, Tensor) else ()
            if rows == (joints,) and name != "edge_index":  # two rows, the ends of edges
                data[name] = value[self.order.to(value.device)]

    def __repr__(self) -> str:
        """Show the width and the skeleton."""
        return f"MirrorHand({self.width}, {self.skeleton.name})"
