"""Random regions of occluded joints, in the image or on the skeleton."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import (
    check_between,
    check_count,
    check_points,
    check_range,
    check_skeleton,
)
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND
from handgraph.transforms.base import uniform_like


def sample_region(
    uv: Tensor,
    *,
    probability: float = 0.6,
    radius: tuple[float, float] = (10.0, 100.0),
    hops: int = 0,
    skeleton: Skeleton = HAND,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw joints to occlude: those near a random joint, the centre.

    A joint is hidden if it lies within the radius of the centre in the image, or within ``hops``
    bones of it on the skeleton. The radius is uniform in its range. ``radius=(0, 0)`` uses only the
    skeleton, ``hops=0`` only the image. A missing joint (NaN) is never a centre and never within a
    radius. With the defaults, an occlusion of :class:`handgraph.datasets.SyntheticHands` hides 8 of
    21 joints on average, from 1 to all.

    Args:
        uv: Joints in the image.
        probability: Probability that a sample has hidden joints.
        radius: Minimum and maximum radius.
        hops: Number of bones; joints up to this graph distance of the centre are hidden.
        skeleton: Skeleton of the joints.
        generator: Random generator on the device of uv. Default: PyTorch's global generator.

    Shapes:
        uv ``[*, J, 2]`` -> Bool ``[*, J]``, True where hidden.

    Units:
        uv and radius in pixels.

    Raises:
        TypeError: If uv is not floating point, or hops not int.
        ValueError: If uv is not ``[*, J, 2]`` with the skeleton's joints, the probability is not
            in [0, 1], hops is negative, or radius is not a range of finite, non-negative numbers.

    Example:
        >>> import torch
        >>> from handgraph.transforms import sample_region
        >>> uv = torch.arange(21.0).unsqueeze(-1).repeat(1, 2)  # on a diagonal
        >>> hidden = sample_region(uv, probability=1.0, radius=(3, 3))
        >>> 3 <= int(hidden.sum()) <= 5
        True
    """
    check_region(probability, radius, hops)
    check_skeleton(skeleton, "skeleton")
    check_points(uv, "uv", 2)
    if uv.shape[-2] != skeleton.num_joints:
        raise ValueError(
            f"expected uv with the {skeleton.num_joints} joints of skeleton {skeleton.name!r}, "
            f"got {uv.shape[-2]} joints: {list(uv.shape)}"
        )
    centre = torch.randint(
        skeleton.num_joints, (*uv.shape[:-2], 1), generator=generator, device=uv.device
    )
    centre = _next_known(uv, centre)
    middle = uv.take_along_dim(centre.unsqueeze(-1), dim=-2)
    share, draw = (uniform_like(middle[..., 0], generator) for _ in range(2))
    distance = torch.linalg.vector_norm(uv - middle, dim=-1)
    hidden: Tensor = distance <= radius[0] + share * (radius[1] - radius[0])
    if hops:
        hidden = hidden | (skeleton.hops().to(uv.device) <= hops)[centre.squeeze(-1)]
    return hidden & (draw < probability)


def _next_known(uv: Tensor, centre: Tensor) -> Tensor:
    """Return the first joint with a known position, cyclically from ``centre``."""
    joints = uv.shape[-2]
    order = (centre + torch.arange(joints, device=uv.device)) % joints
    known = uv.isfinite().all(dim=-1).take_along_dim(order, dim=-1)
    first = known.to(torch.uint8).argmax(dim=-1, keepdim=True)
    return order.take_along_dim(first, dim=-1)


def check_region(probability: float, radius: tuple[float, float], hops: int) -> None:
    """Raise unless all are in their ranges."""
    check_between(probability, "probability", 0, 1)
    check_range(radius, "radius")
    check_count(hops, "hops", 0)
