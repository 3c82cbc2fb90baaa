"""What a 2D keypoint detector says of joints that something hides, for many hands at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import check_mask, check_points, check_positive, check_shape
from handgraph.datasets.detector import CUE_NOISE, FREE, PULLED, REACH, SEPARATION, SNAPPED
from handgraph.transforms.base import normal_like, uniform_like

GAP = (0.0, 1.5)
"""How much nearer than the nearest joint it hides an object is, in keybone lengths."""


class Occluded(NamedTuple):
    """What a detector says of each joint, and which joints it can see.

    Shapes:
        uv: ``[*, J, 2]``, pixels (u, v).
        cue: ``[*, J, 1]``, keybone lengths.
        confidence: ``[*, J, 1]``, in (0, 1).
        visible: Bool ``[*, J]``.

    Example:
        >>> import torch
        >>> from handgraph.transforms import simulate_occlusion
        >>> uv, one = torch.zeros(21, 2), torch.ones(21, 1)
        >>> seen = simulate_occlusion(uv, one, one, torch.arange(21) < 5)
        >>> seen.uv.shape, int(seen.visible.sum())
        (torch.Size([21, 2]), 16)
    """

    uv: Tensor
    cue: Tensor
    confidence: Tensor
    visible: Tensor


def simulate_occlusion(
    uv: Tensor,
    cue: Tensor,
    confidence: Tensor,
    hidden: Tensor,
    visible: Tensor | None = None,
    *,
    noise: float = 1.5,
    image_size: int = 256,
    generator: torch.Generator | None = None,
) -> Occluded:
    r"""Give what a detector would say if an object hid these joints.

    The model of the detector in :class:`handgraph.datasets.SyntheticHands`, on joints that it
    found. A hidden joint is put onto a visible joint nearby (35 %), pulled toward one by 20-60 % of
    the way (35 %), or put anywhere around its place (30 %, and wherever no joint is visible), with
    noise on top. Its score becomes a low one (AUC 0.90 against visible joints). Its depth cue
    becomes that of the object: a plate that faces the camera, 0 to 1.5 keybone lengths nearer than
    the nearest cue that it hides, with noise of 0.5. All other joints keep their values exactly.
    The simulator's objects are solid and curved; in its severe images they are nearer than the
    nearest hidden joint by 0.3 to 2.7 keybone lengths.

    Args:
        uv: Detected positions.
        cue: Relative depth of what the image shows at each joint.
        confidence: The detector's scores.
        hidden: Which joints the object hides, from :func:`sample_region` for example.
        visible: Which joints could be seen before; all if None. One that could not keeps its
            values, and no joint is put onto it.
        noise: Standard deviation of the noise on u and on v of hidden joints.
        image_size: Side of the image, with which the errors of hidden joints grow.
        generator: Source of random numbers, on the device of uv; PyTorch's own if None.

    Shapes:
        uv ``[*, J, 2]``, cue and confidence ``[*, J, 1]``, hidden and visible Bool ``[*, J]``; the
        output has the same.

    Units:
        uv, noise and image_size in pixels, (u, v) order; cue in keybone lengths.

    Raises:
        TypeError: If uv is not floating point, another dtype differs from that of uv, or a mask is
            not bool.
        ValueError: If a shape is wrong, noise is negative, or image_size is not positive.

    Example:
        >>> import torch
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.transforms import sample_region, simulate_occlusion
        >>> hands = SyntheticHands(1000, progress=False).tensors
        >>> clean = [hands[f"{name}_clean"] for name in ("uv", "cue", "confidence")]
        >>> random = torch.Generator().manual_seed(0)
        >>> hidden = sample_region(clean[0], probability=1.0, generator=random)
        >>> seen = simulate_occlusion(*clean, hidden, generator=random)
        >>> bool((seen.uv == clean[0]).all(-1).eq(~hidden).all())
        True
        >>> round(seen.confidence[hidden].mean().item(), 1)
        0.3
    """
    check_detector(noise, image_size)
    _check_shapes(uv, cue, confidence, hidden, visible)
    before = torch.ones_like(hidden) if visible is None else visible
    seen, hidden = before & ~hidden, before & hidden
    found = _misplace(uv, seen, image_size / 256, generator)
    found = found + noise * normal_like(uv, generator)
    pick = hidden.unsqueeze(-1)
    return Occluded(
        found.where(pick, uv),
        _object_cue(cue, pick, generator).where(pick, cue),
        _low_score(confidence, generator).where(pick, confidence),
        seen,
    )


def _misplace(uv: Tensor, seen: Tensor, unit: float, generator: torch.Generator | None) -> Tensor:
    """Put every joint where it would be found if it were hidden, without noise. ``[*, J, 2]``."""
    kind, way = (uniform_like(uv[..., :1], generator) for _ in range(2))
    target = _visible_joint_nearby(uv, seen, unit * REACH, generator)
    moved = uv + torch.where(kind < SNAPPED, 1.0, 0.2 + 0.4 * way) * (target - uv)
    free = uv + unit * FREE * normal_like(uv, generator)
    stays = (kind >= SNAPPED + PULLED) | ~seen.any(dim=-1)[..., None, None]
    return torch.where(stays, free, moved)


def _visible_joint_nearby(
    uv: Tensor, seen: Tensor, reach: float, generator: torch.Generator | None
) -> Tensor:
    """Draw a visible joint for each joint, with weights exp(-distance / reach). ``[*, J, 2]``.

    A race: each joint arrives after an exponential time of that rate. Its logarithm is compared,
    which cannot overflow.
    """
    u, v = uv.unbind(dim=-1)
    distance = torch.hypot(u.unsqueeze(-1) - u.unsqueeze(-2), v.unsqueeze(-1) - v.unsqueeze(-2))
    time = -torch.log1p(-uniform_like(distance, generator))
    arrival = (time.log() + distance / reach).where(seen.unsqueeze(-2), torch.inf)
    return uv.take_along_dim(arrival.argmin(dim=-1).unsqueeze(-1), dim=-2)


def _object_cue(cue: Tensor, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
    """Depth cue of the object that hides these joints. ``[*, J, 1]``."""
    nearest = cue.where(hidden, torch.inf).amin(dim=-2, keepdim=True)
    gap = GAP[0] + (GAP[1] - GAP[0]) * uniform_like(nearest, generator)
    return nearest - gap + CUE_NOISE * normal_like(cue, generator)


def _low_score(confidence: Tensor, generator: torch.Generator | None) -> Tensor:
    """Score of a hidden joint, the law of :func:`handgraph.datasets.detector.confidence`."""
    x = normal_like(confidence, generator) - SEPARATION / 2
    return torch.sigmoid(SEPARATION * x)


def check_detector(noise: float, image_size: int) -> None:
    """Raise unless the noise is finite and not negative, and the image has a size."""
    if not 0 <= noise < float("inf"):
        raise ValueError(f"expected noise to be finite and not negative, got {noise}")
    check_positive(image_size, "image_size")


def _check_shapes(
    uv: Tensor, cue: Tensor, confidence: Tensor, hidden: Tensor, visible: Tensor | None
) -> None:
    check_points(uv, 2, "uv")
    check_shape(cue, uv[..., :1].shape, uv, "cue")
    check_shape(confidence, uv[..., :1].shape, uv, "confidence")
    check_mask(hidden, uv.shape[:-1])
    if visible is not None:
        check_mask(visible, uv.shape[:-1])
