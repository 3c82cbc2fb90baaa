"""The view frame: a camera frame rotated toward the hand."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph.geometry.camera import back_project
from handgraph.geometry.crop import _box


def view_rotation(uv: Tensor, K: Tensor, *, mask: Tensor | None = None) -> Tensor:
    r"""Return the rotation from the camera frame to that of a camera that looks at the hand.

    R is the smallest rotation with :math:`R\, r = e_z`, where r is the unit ray through the centre
    of the joints' bounding box. A crop does not show its position in the image, so a pose that is
    estimated from a crop alone is best expressed in this frame: :math:`x_{view} = R\, x_{camera}`.
    For joints as rows, ``xyz @ R.mT`` rotates to the view frame and ``xyz @ R`` rotates back. A
    singular K gives NaN.

    Args:
        uv: Joints in the image.
        K: Camera matrices, one for each sample or one for all.
        mask: True for the joints that the box must contain. Default: all.

    Shapes:
        uv ``[*, J, 2]``, K ``[*, 3, 3]`` or ``[3, 3]``, mask Bool ``[*, J]`` -> ``[*, 3, 3]``.

    Units:
        uv in pixels, (u, v) order; the rotation has no unit.

    Raises:
        TypeError: If uv is not floating point, the dtypes differ, or the mask is not bool.
        ValueError: If a last dimension is wrong, the leading dimensions differ, or uv has no joint.

    Example:
        >>> import torch
        >>> from handgraph.geometry import view_rotation
        >>> K = torch.tensor([[100.0, 0.0, 50.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]])
        >>> R = view_rotation(torch.tensor([[100.0, 40.0], [150.0, 60.0]]), K)  # 37 degrees off
        >>> (torch.tensor([[0.6, 0.0, 0.8]]) @ R.mT).round(decimals=4).abs().tolist()
        [[0.0, 0.0, 1.0]]
    """
    low, high = _box(uv, mask)
    centre = ((low + high) / 2).unsqueeze(-2)
    ray = back_project(centre, torch.ones_like(centre[..., 0]), K).squeeze(-2)
    a, b, c = (ray / torch.linalg.vector_norm(ray, dim=-1, keepdim=True)).unbind(dim=-1)
    k = 1 / (1 + c)
    entries = [1 - k * a * a, -k * a * b, -a, -k * a * b, 1 - k * b * b, -b, a, b, c]
    return torch.stack(entries, dim=-1).reshape(*ray.shape[:-1], 3, 3)
