"""Relative depth (Eq. 1): depth relative to the root joint, in keybone lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import (
    check_dtype,
    check_hand,
    check_like,
    check_points,
    check_shape,
    check_skeleton,
    check_tensor,
)
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

KEYBONE = ("middle_mcp", "middle_pip")
"""The paper's keybone: the first bone of the middle finger."""


def root_index(skeleton: Skeleton) -> int:
    """Return the index of the root joint."""
    check_skeleton(skeleton, "skeleton")
    if skeleton.root is None:
        raise ValueError(
            f"skeleton {skeleton.name!r} has no root joint: relative depth needs one "
            "(pass root=... to Skeleton)"
        )
    return skeleton.index(skeleton.root)


def keybone_length(
    xyz: Tensor, skeleton: Skeleton = HAND, bone: tuple[str, str] = KEYBONE
) -> Tensor:
    r"""Compute the keybone length, the distance of two joints and unit of length of Eq. 1.

    From the paper's Eq. 1: :math:`s = \|x_{k+1} - x_k\|_2`, with the first bone of the middle
    finger.

    Args:
        xyz: Joints in the order of the skeleton.
        skeleton: Skeleton of the joints.
        bone: Names of the two joints.

    Shapes:
        xyz ``[*, J, 3]`` -> ``[*]``.

    Units:
        The unit of xyz (metres in, metres out), in any Cartesian frame.

    Raises:
        TypeError: If xyz is not floating point.
        ValueError: If xyz is not ``[*, J, 3]`` with the skeleton's joints, or a name is unknown.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.geometry import keybone_length
        >>> xyz = torch.zeros(21, 3)
        >>> xyz[HAND.index("middle_pip")] = torch.tensor([0.003, 0.0, 0.004])
        >>> round(keybone_length(xyz).item(), 4)
        0.005
    """
    check_hand(xyz, skeleton)
    start, end = (skeleton.index(joint) for joint in bone)
    length: Tensor = torch.linalg.vector_norm(xyz[..., end, :] - xyz[..., start, :], dim=-1)
    return length


def relative_depth(xyz: Tensor, scale: Tensor, skeleton: Skeleton = HAND) -> Tensor:
    r"""Compute the depth of each joint relative to the root joint, in keybone lengths.

    The paper's Eq. 1: :math:`d_i = (z_i - z_{root}) / s`. A scale that is not positive gives NaN
    for the whole sample.

    Args:
        xyz: Joints in the camera frame, in the order of the skeleton.
        scale: Keybone length s of each sample.
        skeleton: Skeleton of the joints, with a root.

    Shapes:
        xyz ``[*, J, 3]``, scale ``[*]`` -> ``[*, J]``.

    Units:
        xyz and scale in the same unit (metres), camera frame -> keybone lengths.

    Raises:
        TypeError: If a tensor is not floating point, or the dtypes differ.
        ValueError: If a shape or the joint count is wrong, or the skeleton has no root.

    Example:
        >>> import torch
        >>> from handgraph.geometry import relative_depth
        >>> xyz = torch.full((21, 3), 0.5)
        >>> xyz[1:, 2] = 0.56
        >>> d = relative_depth(xyz, torch.tensor(0.03))
        >>> round(d[0].item(), 4), round(d[1].item(), 4)
        (0.0, 2.0)
    """
    root = root_index(skeleton)
    check_hand(xyz, skeleton)
    check_like(scale, "scale", xyz[..., 0, 0], "xyz")
    z = xyz[..., 2]
    return (z - z[..., root : root + 1]) / _positive_or_nan(scale).unsqueeze(-1)


def absolute_depth(d: Tensor, scale: Tensor, root_depth: Tensor) -> Tensor:
    r"""Compute the depth of each joint in the camera frame: Eq. 1 solved for z.

    :math:`z_i = s d_i + z_{root}`, with known scale and root depth (the paper's section 3.1). A
    scale that is not positive gives NaN for the whole sample.

    Args:
        d: Relative depth of each joint.
        scale: Keybone length s of each sample.
        root_depth: Depth of the root joint of each sample.

    Shapes:
        d ``[*, J]``, scale ``[*]``, root_depth ``[*]`` -> ``[*, J]``.

    Units:
        d in keybone lengths; scale, root_depth and the result in one unit (metres), camera frame.

    Raises:
        TypeError: If a tensor is not floating point, or the dtypes differ.
        ValueError: If the leading dimensions differ.

    Example:
        >>> import torch
        >>> from handgraph.geometry import absolute_depth
        >>> z = absolute_depth(torch.tensor([0.0, 2.0]), torch.tensor(0.03), torch.tensor(0.5))
        >>> [round(value, 4) for value in z.tolist()]
        [0.5, 0.56]
    """
    check_tensor(d, "d")
    check_points(d.unsqueeze(-1), "d", 1)
    check_shape(scale, "scale", d.shape[:-1], d)
    check_dtype(scale, "scale", d, "d")
    check_like(root_depth, "root_depth", scale, "scale")
    return d * _positive_or_nan(scale).unsqueeze(-1) + root_depth.unsqueeze(-1)


def _positive_or_nan(length: Tensor) -> Tensor:
    """Replace lengths that are not positive by NaN."""
    return torch.where(length > 0, length, torch.nan)
