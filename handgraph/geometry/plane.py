"""Application of 3 x 3 maps of the image plane to pixels and camera matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_matrix, check_points


def transform_points(A: Tensor, uv: Tensor) -> Tensor:
    r"""Map pixels by a map of the image plane: :math:`w (u', v', 1)^T = A (u, v, 1)^T`.

    Args:
        A: Maps, one for each sample or one for all.
        uv: Pixels.

    Shapes:
        A ``[*, 3, 3]`` or ``[3, 3]``, uv ``[*, J, 2]`` -> ``[*, J, 2]``.

    Units:
        Pixels before the map -> pixels after it, (u, v) order.

    Raises:
        TypeError: If uv is not floating point, or the dtypes differ.
        ValueError: If a last dimension is wrong or the leading dimensions differ.

    Example:
        >>> import torch
        >>> from handgraph.geometry import mirror_matrix, transform_points
        >>> transform_points(mirror_matrix(320), torch.tensor([[0.0, 5.0]])).tolist()
        [[319.0, 5.0]]
    """
    check_points(uv, "uv", 2)
    check_matrix(A, "A", uv)
    points = torch.cat([uv, torch.ones_like(uv[..., :1])], dim=-1)
    image = (A.unsqueeze(-3) * points.unsqueeze(-2)).sum(dim=-1)
    return image[..., :2] / image[..., 2:]


def transform_intrinsics(A: Tensor, K: Tensor) -> Tensor:
    """Return the camera matrix of the mapped image, ``A K``, which projects to mapped pixels.

    Args:
        A: Maps, one for each sample or one for all.
        K: Camera matrices, one for each sample or one for all.

    Shapes:
        A ``[*, 3, 3]`` or ``[3, 3]``, K ``[*, 3, 3]`` or ``[3, 3]`` -> ``[*, 3, 3]``.

    Units:
        Pixels before the map -> pixels after it.

    Raises:
        TypeError: If a matrix is not floating point, or the dtypes differ.
        ValueError: If a matrix is not 3 x 3 or the leading dimensions differ.

    Example:
        >>> import torch
        >>> from handgraph.geometry import transform_intrinsics
        >>> K = torch.tensor([[300.0, 0.0, 160.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
        >>> half = torch.diag(torch.tensor([0.5, 0.5, 1.0]))
        >>> transform_intrinsics(half, K).tolist()
        [[150.0, 0.0, 80.0], [0.0, 150.0, 80.0], [0.0, 0.0, 1.0]]
    """
    _check_square(A, "A")
    _check_square(K, "K")
    if A.ndim > 2 or K.ndim == 2:
        check_matrix(K, "K", A)
    else:
        check_matrix(A, "A", K)
    return product(A, K)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Compute ``a @ b`` in full precision, unaffected by autocast and TF32."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(dim=-2)


def _check_square(matrix: Tensor, name: str) -> None:
    """Raise unless ``matrix`` is a floating-point ``[*, 3, 3]`` tensor."""
    check_points(matrix, name, 3)
    if matrix.shape[-2] != 3:
        raise ValueError(f"expected {name} of shape [*, 3, 3], got {list(matrix.shape)}")
