"""Square crops around hands, and normalisation of pixels to [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_mask, check_points, check_positive


def crop_matrix(
    uv: Tensor, size: int, margin: float = 1.25, *, mask: Tensor | None = None
) -> Tensor:
    r"""Return the map from image to crop: a square around the joints, resized.

    The square is centred on the bounding box of the joints. Its side is ``margin`` times the longer
    side of the box. Its edges map to the edges of the crop, half a pixel outside the first and last
    pixel centre: :math:`u' = (u - u_c)\, size / side + (size - 1) / 2`. The paper does not state
    its crop. The map is NaN if the box is undefined: all joints in one pixel, no joint in the mask,
    or a coordinate that is not finite.

    Args:
        uv: Joints in the image.
        size: Side of the crop in pixels.
        margin: Ratio of the side of the square to the longer side of the box.
        mask: True for the joints that the box must contain. Default: all.

    Shapes:
        uv ``[*, J, 2]``, mask Bool ``[*, J]`` -> ``[*, 3, 3]``.

    Units:
        Pixels of the image -> pixels of the crop, (u, v) order.

    Raises:
        TypeError: If uv is not floating point or the mask is not bool.
        ValueError: If uv is not ``[*, J, 2]`` with a joint, the mask is not ``[*, J]``, or size or
            margin is not positive and finite.

    Example:
        >>> import torch
        >>> from handgraph.geometry import crop_matrix
        >>> crop_matrix(torch.tensor([[10.0, 20.0], [50.0, 100.0]]), size=200).tolist()
        [[2.0, 0.0, 39.5], [0.0, 2.0, -20.5], [0.0, 0.0, 1.0]]
    """
    check_positive(size, "size")
    check_positive(margin, "margin")
    low, high = _box(uv, mask)
    side = margin * (high - low).amax(dim=-1)
    zoom = size / torch.where((side > 0) & (side < torch.inf), side, torch.nan)
    shift = (size - 1) / 2 - zoom.unsqueeze(-1) * (low + high) / 2
    zero, one = torch.zeros_like(zoom), torch.ones_like(zoom)
    entries = [zoom, zero, shift[..., 0], zero, zoom, shift[..., 1], zero, zero, one]
    return torch.stack(entries, dim=-1).reshape(*zoom.shape, 3, 3)


def normalize_uv(uv: Tensor, size: int) -> Tensor:
    r"""Scale pixels of a square image to [-1, 1], the input and output range of the networks.

    :math:`(2 u + 1) / size - 1`: the edges of the image (half a pixel outside the first and last
    pixel centre) become -1 and 1, as in ``grid_sample(align_corners=False)``. Mirroring the image
    changes the sign of u. Joints outside of the image lie outside of [-1, 1].

    Args:
        uv: Pixels.
        size: Side of the image in pixels.

    Shapes:
        uv ``[*, J, 2]`` -> ``[*, J, 2]``.

    Units:
        Pixels -> half image sides, (u, v) order, 0 at the image centre.

    Raises:
        TypeError: If uv is not floating point.
        ValueError: If uv is not ``[*, J, 2]`` or size is not positive and finite.

    Example:
        >>> import torch
        >>> from handgraph.geometry import normalize_uv
        >>> normalize_uv(torch.tensor([[127.5, 255.5]]), 256).tolist()
        [[0.0, 1.0]]
    """
    check_points(uv, "uv", 2)
    check_positive(size, "size")
    return (2 * uv + 1) / size - 1


def denormalize_uv(uv: Tensor, size: int) -> Tensor:
    r"""Scale coordinates in [-1, 1] to pixels, the inverse of :func:`normalize_uv`.

    :math:`u = ((n + 1)\, size - 1) / 2`.

    Args:
        uv: Normalised coordinates.
        size: Side of the image in pixels.

    Shapes:
        uv ``[*, J, 2]`` -> ``[*, J, 2]``.

    Units:
        Half image sides, 0 at the image centre -> pixels, (u, v) order.

    Raises:
        TypeError: If uv is not floating point.
        ValueError: If uv is not ``[*, J, 2]`` or size is not positive and finite.

    Example:
        >>> import torch
        >>> from handgraph.geometry import denormalize_uv
        >>> denormalize_uv(torch.tensor([[0.0, 1.0]]), 256).tolist()
        [[127.5, 255.5]]
    """
    check_points(uv, "uv", 2)
    check_positive(size, "size")
    return ((uv + 1) * size - 1) / 2


def in_frame(uv: Tensor, height: int, width: int) -> Tensor:
    """Return whether pixels lie in the image, edges included. ``[*, 2]`` -> Bool ``[*]``."""
    u, v = uv.unbind(dim=-1)
    return (u >= -0.5) & (v >= -0.5) & (u <= width - 0.5) & (v <= height - 0.5)


def _box(uv: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the minimum and maximum coordinates of the joints, each ``[*, 2]``."""
    check_points(uv, "uv", 2)
    if uv.shape[-2] == 0:
        raise ValueError(f"expected uv with at least one joint, got {list(uv.shape)}")
    if mask is None:
        return uv.amin(dim=-2), uv.amax(dim=-2)
    check_mask(mask, "mask", uv.shape[:-1], uv)
    keep = mask.unsqueeze(-1)
    low = torch.where(keep, uv, torch.inf).amin(dim=-2)
    high = torch.where(keep, uv, -torch.inf).amax(dim=-2)
    return low, high
