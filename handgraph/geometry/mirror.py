"""Mirroring of left hands to right hands, so that one network handles both."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_matrix, check_points, check_positive
from handgraph.geometry.plane import transform_intrinsics


def mirror_matrix(
    width: int, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Tensor:
    r"""Return the map that mirrors an image horizontally: :math:`u' = W - 1 - u`.

    Args:
        width: Width of the image.
        dtype: Dtype of the matrix. Default: PyTorch's default dtype.
        device: Device of the matrix. Default: PyTorch's default device.

    Shapes:
        -> ``[3, 3]``.

    Units:
        Pixels -> pixels, (u, v) order.

    Raises:
        ValueError: If the width is not positive and finite.

    Example:
        >>> from handgraph.geometry import mirror_matrix
        >>> mirror_matrix(320).tolist()
        [[-1.0, 0.0, 319.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check_positive(width, "width")
    rows = [[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=dtype, device=device)


def mirror_hand(xyz: Tensor, K: Tensor, width: int) -> tuple[Tensor, Tensor]:
    r"""Mirror hand and camera, which turns a left hand into a right hand.

    :math:`x' = -x` and :math:`K' = M K \, diag(-1, 1, 1)` with M of :func:`mirror_matrix`. The
    mirrored hand projects to :math:`(W - 1 - u, v)`, and the focal length stays positive. Depths
    and bone lengths do not change. The order of the joints does not change: if the skeleton has
    left and right joints, reorder them with :meth:`handgraph.Skeleton.swap_sides`.

    Args:
        xyz: Joints in the camera frame.
        K: Camera matrices, one for each sample or one for all.
        width: Width of the image.

    Shapes:
        xyz ``[*, J, 3]``, K ``[*, 3, 3]`` or ``[3, 3]`` -> the shapes of xyz and K.

    Units:
        xyz in any unit (metres), camera frame; width in pixels.

    Raises:
        TypeError: If xyz is not floating point, or the dtypes differ.
        ValueError: If a last dimension is wrong, the leading dimensions differ, or the width is
            not positive.

    Example:
        >>> import torch
        >>> from handgraph.geometry import mirror_hand, project
        >>> K = torch.tensor([[300.0, 0.0, 150.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
        >>> xyz = torch.tensor([[0.1, 0.0, 0.5]])
        >>> project(xyz, K)[0].tolist(), project(*mirror_hand(xyz, K, 320))[0].tolist()
        ([210.0, 160.0], [109.0, 160.0])
    """
    check_points(xyz, "xyz", 3)
    check_matrix(K, "K", xyz)
    mirror = mirror_matrix(width, dtype=K.dtype, device=K.device)
    return _negate_first(xyz), _negate_first(transform_intrinsics(mirror, K))


def _negate_first(x: Tensor) -> Tensor:
    """Change the sign of the first entry of the last dimension."""
    return torch.cat([-x[..., :1], x[..., 1:]], dim=-1)
