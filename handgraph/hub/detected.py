"""Detector output as the input of a lifter: joints, confidences and depths."""

from __future__ import annotations

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from handgraph._check import check_points
from handgraph._convert import to_tensor
from handgraph.skeleton import Skeleton

UNKNOWN = 0.5
"""Confidence of joints without a given confidence."""

MIN_JOINTS = 3
"""Minimum number of detected joints of a hand."""


class Detected(NamedTuple):
    """Detected joints of hands. uv and depth are 0 for missing joints.

    Shapes:
        uv: ``[*, J, 2]``; score, depth: ``[*, J]``.
        detected: Bool ``[*, J]``, whether a joint is not missing.
        with_depth: Bool ``[*, J]``, whether a joint is detected and has a depth.
    """

    uv: Tensor
    score: Tensor
    depth: Tensor
    detected: Tensor
    with_depth: Tensor


def split_rows(rows: Tensor | ArrayLike) -> tuple[Tensor, Tensor]:
    """Split rows (u, v, score), the format of OpenPose and COCO, into joints and confidences.

    The lifter treats a joint with a confidence of 0 as missing, regardless of its position.

    Args:
        rows: Rows (u, v, score).

    Shapes:
        rows ``[*, J, 3]`` -> uv ``[*, J, 2]`` and score ``[*, J]``.

    Units:
        uv in pixels, (u, v) order.

    Raises:
        TypeError: If the rows are not numbers.
        ValueError: If the last dimension is not 3.

    Example:
        >>> uv, score = split_rows([[[10.0, 20.0, 0.9], [0.0, 0.0, 0.0]]])
        >>> uv.shape, [round(s, 1) for s in score[0].tolist()]
        (torch.Size([1, 2, 2]), [0.9, 0.0])
    """
    tensor = to_tensor(rows, "rows")
    if isinstance(rows, list | tuple) and tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if tensor.ndim < 2 or tensor.shape[-1] != 3:
        raise ValueError(f"expected rows (u, v, score), [*, J, 3], got {list(tensor.shape)}")
    return tensor[..., :2], tensor[..., 2]


def read_detected(
    uv: Tensor | ArrayLike,
    score: Tensor | ArrayLike | None,
    depth: Tensor | ArrayLike | None,
    skeleton: Skeleton,
    like: Tensor,
) -> Detected:
    """Check detections, convert them to the dtype of ``like``, and find missing joints."""
    uv = _real("uv", uv, like)
    check_points(uv, "uv", 2)
    if uv.shape[-2] != skeleton.num_joints:
        raise ValueError(
            f"expected uv [*, {skeleton.num_joints}, 2] for {skeleton.name}, got {list(uv.shape)}"
        )
    score = _of_joints("score", score, uv, UNKNOWN, like)
    depth = _of_joints("depth", depth, uv, torch.nan, like)
    detected = ~uv.isnan().any(dim=-1) & (score > 0)
    with_depth = detected & ~depth.isnan()
    uv, depth = uv.where(detected.unsqueeze(-1), 0), depth.where(with_depth, 0)
    found = Detected(uv, score, depth, detected, with_depth)
    if not torch.compiler.is_compiling():  # no checks of values when compiling
        _check_values(found)
    return found


def _of_joints(
    name: str, value: Tensor | ArrayLike | None, uv: Tensor, default: float, like: Tensor
) -> Tensor:
    """Return a value for each joint."""
    if value is None:
        return torch.full_like(uv[..., 0], default)
    tensor = _real(name, value, like)
    if tensor.shape != uv.shape[:-1]:
        column = tensor.shape == (*uv.shape[:-1], 1)
        raise ValueError(
            f"expected {name} of shape {list(uv.shape[:-1])}, got {list(tensor.shape)}"
            + (f": {name}.squeeze(-1)" if column else "")
        )
    return tensor


def _real(name: str, value: Tensor | ArrayLike, like: Tensor) -> Tensor:
    """Convert to the dtype of ``like``, and to its device unless ``value`` is a tensor."""
    tensor = to_tensor(value, name)
    if tensor.is_complex():
        raise TypeError(f"expected {name} as real numbers, got {tensor.dtype}")
    return tensor.to(like.dtype) if isinstance(value, Tensor) else tensor.to(like)


def _check_values(found: Detected) -> None:
    uv, score, depth, detected, _ = found
    if not bool(((score >= 0) & (score <= 1)).all()):
        raise ValueError("score: expected probabilities, some are outside of [0, 1] or NaN")
    for name, value in {"uv": uv, "depth": depth}.items():
        if bool(value.isinf().any()):
            raise ValueError(f"{name}: expected finite numbers, or NaN where missing, got infinity")
    count = detected.sum(dim=-1)
    if detected.dim() == 1 and count < MIN_JOINTS:
        raise ValueError(
            f"expected at least {MIN_JOINTS} joints of a single hand, got {int(count)}"
        )
    if detected.dim() == 1 and bool((uv[detected] == uv[detected][0]).all()):
        raise ValueError(
            f"expected the joints of a single hand in different places, got all at "
            f"{uv[detected][0].tolist()}: pass their scores, 0 for a missing joint, or NaN"
        )
