"""Rotation about the optical axis of the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph._check import check_points
from handgraph.geometry import project, transform_points, warp_image
from handgraph.geometry.crop import in_frame
from handgraph.transforms.base import (
    RandomTransform,
    picture_names,
    pixel_names,
    require,
    require_camera,
    require_pixels,
)


class RotateInPlane(RandomTransform):
    r"""Rotate a hand about the camera's optical axis, in the image about its principal point.

    :math:`x' = R x` with R a rotation about z, and :math:`(u', v', 1)^T = K R K^{-1} (u, v, 1)^T`
    for pixels (``uv`` and every entry whose name starts with ``uv_``). This is exact for every K,
    which does not change. In the image the map is a rotation if pixels are square. ``image``,
    ``mask`` and ``depth`` are warped (:func:`handgraph.geometry.warp_image`; mask and depth with
    the nearest pixel) and are 0 outside of the original image. Relative depths, bone lengths,
    confidences and cues are unchanged. If the ``Data`` has an image, ``visible`` becomes False for
    joints that leave it.

    Args:
        degrees: An angle, or the range of a uniform random angle. Positive angles rotate from u
            toward v: clockwise on the screen.
        generator: Random generator. Default: PyTorch's global generator, which data loaders seed in
            each worker. Other generators raise an error in a worker.

    Units:
        degrees in degrees; pixels in (u, v) order; xyz in the camera frame.

    Raises:
        TypeError: If ``generator`` is neither a ``torch.Generator`` nor None.
        ValueError: If degrees is neither a number nor a range, or if a ``Data`` has no ``K``, a
            ``K`` that is singular or not ``[1, 3, 3]``, neither ``uv`` nor ``xyz``, or an image
            together with normalised joints.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.geometry import project
        >>> from handgraph.transforms import RotateInPlane
        >>> hand = RotateInPlane(90)(SyntheticHands(1)[0])
        >>> error = project(hand.xyz[None], hand.K)[0] - hand.uv_true
        >>> bool(error.abs().max() < 1e-3)
        True
    """

    def __init__(
        self,
        degrees: float | Sequence[float] = (-180.0, 180.0),
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        ends = tuple(degrees) if isinstance(degrees, Sequence) else (degrees, degrees)
        if len(ends) != 2:
            raise ValueError(f"expected an angle or (minimum, maximum) in degrees, got {degrees}")
        low, high = ends
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"expected an angle or (minimum, maximum) in degrees, got {degrees}")
        self.degrees = (low, high)

    def forward(self, data: Data) -> Data:
        """Rotate pixels, images and ``xyz``."""
        names, pictures = pixel_names(data), picture_names(data)
        require(self, data, "K", *([] if names or "xyz" in data else ["uv or xyz"]))
        require_camera(self, data)
        require_pixels(self, data)
        if "xyz" in data:
            check_points(data.xyz, "xyz", 3)
        low, high = self.degrees
        share = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        turn = _about_z(math.radians(low + (high - low) * share), data.K)
        if names or pictures:
            image = self._image_map(data.K[0].double(), turn)
        for name in names:
            data[name] = transform_points(image.to(data[name]), data[name])
        for name in pictures:
            height, width = data[name].shape[-2:]
            mode = "bilinear" if name == "image" else "nearest"
            data[name] = warp_image(data[name], image, (height, width), mode=mode)
        if "xyz" in data:
            data.xyz = (turn.to(data.xyz) * data.xyz.unsqueeze(-2)).sum(dim=-1)
        if pictures and "visible" in data:
            uv = self._where(data, names)
            data.visible = data.visible & in_frame(uv, *data[pictures[0]].shape[-2:])
        return data

    def _where(self, data: Data, names: list[str]) -> Tensor:
        """Return the joints' true pixels where available, else detected pixels."""
        if "xyz" in data:
            return project(data.xyz.unsqueeze(0), data.K)[0]
        uv: Tensor = data["uv_true" if "uv_true" in names else min(names)]
        return uv

    def _image_map(self, K: Tensor, turn: Tensor) -> Tensor:
        """Return ``K R K^-1`` in double precision."""
        inverse, info = torch.linalg.inv_ex(K)
        if info:
            raise ValueError(f"RotateInPlane: expected a K that can be inverted, got {K.tolist()}")
        image: Tensor = K @ turn @ inverse
        return image

    def __repr__(self) -> str:
        """Show the range of angles."""
        return f"RotateInPlane({self.degrees})"


def _about_z(angle: float, like: Tensor) -> Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    rows = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64, device=like.device)
