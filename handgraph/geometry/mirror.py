"""Mirroring: a left hand becomes a right hand, and one network serves both."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_matrix, check_points, check_positive
from handgraph.geometry.plane import transform_intrinsics


def mirror_matrix(
    width: int, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Tensor:
    r"""Map of the image plane that swaps left and right: :math:`u' = W - 1 - u`.

    Args:
        width: Width of the image.
        dtype: Of the matrix; PyTorch's default dtype if None.
        device: Of the matrix; PyTorch's default device if None.

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
    r"""The hand and camera of the mirrored image: a left hand becomes a right hand.

    :math:`x' = -x` and :math:`K' = M K \, diag(-1, 1, 1)` with M of :func:`mirror_matrix`. The
    mirrored hand projects to :math:`(W - 1 - u, v)`, and the focal length stays positive. Depths
    and bone lengths do not change. Joints keep their places: if a skeleton has left and right ones,
    reorder them by :meth:`handgraph.Skeleton.swap_sides`.

    Args:
        xyz: Joints in the camera frame.
        K: Camera matrix of each sample, or one for all.
        width: Width of the image.

    Shapes:
        xyz ``[*, J, 3]``, K ``[*, 3, 3]`` or ``[3, 3]`` -> shapes of xyz and K.

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
    check_points(xyz, 3, "xyz")
    check_matrix(K, xyz, "K")
    mirror = mirror_matrix(width, dtype=K.dtype, device=K.device)
    return _negate_first(xyz), _negate_first(transform_intrinsics(mirror, K))


def _negate_first(x: Tensor) -> Tensor:
    """Change the sign of the first entry of the last dimension."""
    return torch.cat([-x[..., :1], x[..., 1:]], dim=-1)
