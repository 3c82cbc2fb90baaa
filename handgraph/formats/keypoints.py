"""Common output of all readers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from handgraph._check import check_floating, check_skeleton, check_tensor
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

Side = Literal["right", "left"]
"""Side of a hand."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Hands from a file, in the joint order of a skeleton.

    The readers of :mod:`handgraph.formats` return this.

    Args:
        uv: Joints in the image; NaN where a joint is missing.
        score: Confidence of each joint, 0 where it is missing; ``None`` if the format has none.
        depth: Relative depth of each joint, increasing away from the camera; ``None`` if unknown.
        side: Side of the hand in the image; ``None`` where unknown. Default: all are unknown.
        image_size: Width and height of each hand's image, NaN where unknown; ``None`` if all are
            unknown.
        name: Name of the image or file of each hand. Default: empty names.
        xyz: 3D joints, NaN where unknown; ``None`` if all are unknown.
        K: Camera matrices, NaN where unknown; ``None`` if all are unknown.
        skeleton: Skeleton that defines the joint order.

    Shapes:
        uv ``[n, J, 2]``, score and depth ``[n, J]``, image_size ``[n, 2]``, xyz ``[n, J, 3]``,
        K ``[n, 3, 3]``, all floating point, float32 from readers; side and name are tuples of
        length n.

    Units:
        uv, depth, image_size and K in pixels, (u, v) order; score in [0, 1]; xyz in metres, camera
        frame (:func:`read_h3wb`: axes of the camera, another origin).

    Raises:
        TypeError: If an entry is not a floating-point tensor, or side or name is a string.
        ValueError: If an entry has the wrong shape, or a side is unknown.

    Example:
        >>> import torch
        >>> from handgraph.formats import Keypoints
        >>> hands = Keypoints(torch.rand(2, 21, 2), side=("left", None), name=("a.jpg", "b.jpg"))
        >>> len(hands), hands.missing.any().item()
        (2, False)
        >>> Keypoints(torch.rand(2, 21, 2)).side
        (None, None)
    """

    uv: Tensor
    score: Tensor | None = None
    depth: Tensor | None = None
    side: tuple[Side | None, ...] = ()
    image_size: Tensor | None = None
    name: tuple[str, ...] = ()
    xyz: Tensor | None = None
    K: Tensor | None = None
    skeleton: Skeleton = HAND

    def __post_init__(self) -> None:
        """Check all entries, and fill in unknown sides and names."""
        check_skeleton(self.skeleton, "Keypoints")
        check_tensor(self.uv, "uv")
        n, joints = len(self.uv), self.skeleton.num_joints
        shapes = {
            "uv": (n, joints, 2), "score": (n, joints), "depth": (n, joints),
            "image_size": (n, 2), "xyz": (n, joints, 3), "K": (n, 3, 3),
        }  # fmt: skip
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            check_floating(value, name)
            if tuple(value.shape) != shape:
                raise ValueError(
                    f"Keypoints: expected {name} of shape {list(shape)}, got {list(value.shape)}"
                )
        object.__setattr__(self, "side", _of_hands(self.side, "side", None, n))
        object.__setattr__(self, "name", _of_hands(self.name, "name", "", n))
        if not {*self.side} <= {"left", "right", None}:
            raise ValueError(f"Keypoints: expected sides 'left', 'right' or None, got {self.side}")

    def __len__(self) -> int:
        """Return the number of hands."""
        return len(self.uv)

    @property
    def missing(self) -> Tensor:
        """Whether each joint is missing, Bool ``[n, J]``."""
        return self.uv.isnan().any(dim=-1)


def _of_hands(values: Sequence[Any], name: str, unknown: str | None, n: int) -> tuple[Any, ...]:
    """Return the values of n hands as a tuple; without values, all are unknown."""
    if isinstance(values, str):
        raise TypeError(f"Keypoints: expected {name} as a tuple of strings, got {values!r}")
    found = tuple(values) or (unknown,) * n
    if len(found) != n:
        raise ValueError(f"Keypoints: expected {n} {name}s, got {len(found)}")
    return found


class Hand(NamedTuple):
    """One hand in the joint order of ``HAND``, to be stacked with others."""

    uv: Tensor
    score: Tensor | None
    depth: Tensor | None
    side: Side | None
    image_size: tuple[float, float] | None
    name: str
    xyz: Tensor | None = None
    K: Tensor | None = None


def stack(hands: Sequence[Hand], source: str) -> Keypoints:
    """Stack hands, without those whose joints are all missing."""
    hands = [hand for hand in hands if not bool(hand.uv.isnan().any(dim=-1).all())]
    joints = HAND.num_joints
    sizes = [None if h.image_size is None else h.uv.new_tensor(h.image_size) for h in hands]
    score = _stack([hand.score for hand in hands], (joints,))
    return Keypoints(
        torch.stack([hand.uv for hand in hands])
        if hands
        else torch.empty(0, joints, 2, dtype=torch.float32, device="cpu"),
        None if score is None else _at_most_one(score, source),
        _stack([hand.depth for hand in hands], (joints,)),
        tuple(hand.side for hand in hands),
        _stack(sizes, (2,)),
        tuple(hand.name for hand in hands),
        _stack([hand.xyz for hand in hands], (joints, 3)),
        _stack([hand.K for hand in hands], (3, 3)),
    )


def _stack(values: Sequence[Tensor | None], shape: tuple[int, ...]) -> Tensor | None:
    """Stack values, NaN where unknown; return ``None`` if all are unknown."""
    if all(value is None for value in values):
        return None
    unknown = torch.full(shape, torch.nan, dtype=torch.float32, device="cpu")
    return torch.stack([unknown if v is None else v.to(torch.float32) for v in values])


def _at_most_one(score: Tensor, source: str) -> Tensor:
    """Clamp confidences to 1, and warn if some exceed 1."""
    above = score > 1
    if above.any():
        largest = score[above].max().item()
        warnings.warn(
            f"{source}: {int(above.sum())} scores above 1 become 1 (the largest is {largest:.3g})",
            stacklevel=4,
        )
    return score.clamp(max=1)
