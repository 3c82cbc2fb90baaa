"""Simulated detections of occluded joints, for batches of hands."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph._check import check_like, check_mask, check_points, check_positive
from handgraph.detectors import Detector, Found, HeatmapDetector
from handgraph.detectors.randomness import TorchRandom


class Occluded(NamedTuple):
    """Detections under occlusion, and the visibility of the joints.

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
    detector: Detector | None = None,
    image_size: int = 256,
    generator: torch.Generator | None = None,
) -> Occluded:
    r"""Simulate the detections of a detector if an object occludes the given joints.

    :class:`handgraph.detectors.HeatmapDetector` changes position, cue and confidence of the hidden
    joints only. :class:`handgraph.detectors.RegressionDetector` moves all joints, changes their
    cues and keeps the confidence.

    For the cue of a heatmap detector, the occluder is a plate that faces the camera. The
    simulator's objects are solid and curved. In its severe images they lie 0.3 to 2.7 keybone
    lengths in front of the nearest hidden joint.

    Args:
        uv: Detected positions.
        cue: Relative depth of the visible surface at each joint.
        confidence: Confidence of each joint.
        hidden: Joints that the object occludes, for example from :func:`sample_region`.
        visible: Joints that are visible without the object. Default: all. Other joints keep their
            values, and no joint snaps to them.
        detector: Model of the detector. Default: ``HeatmapDetector()``.
        image_size: Side of the image; the errors of hidden joints grow with it.
        generator: Random generator on the device of uv. Default: PyTorch's global generator.

    Shapes:
        uv ``[*, J, 2]``, cue and confidence ``[*, J, 1]``, hidden and visible Bool ``[*, J]``;
        outputs have the same shapes.

    Units:
        uv and image_size in pixels, (u, v) order; cue in keybone lengths.

    Raises:
        TypeError: If uv is not floating point, another dtype differs from that of uv, or a mask is
            not bool.
        ValueError: If a shape is wrong, or image_size is not positive.

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
    check_positive(image_size, "image_size")
    _check_shapes(uv, cue, confidence, hidden, visible)
    before = torch.ones_like(hidden) if visible is None else visible
    seen = before & ~hidden
    rng, clean = TorchRandom(uv, generator), Found(uv, cue, confidence)
    model = HeatmapDetector() if detector is None else detector
    return Occluded(*model.occlude(rng, clean, before & hidden, seen, image_size), seen)


def _check_shapes(
    uv: Tensor, cue: Tensor, confidence: Tensor, hidden: Tensor, visible: Tensor | None
) -> None:
    check_points(uv, "uv", 2)
    check_like(cue, "cue", uv[..., :1], "uv")
    check_like(confidence, "confidence", uv[..., :1], "uv")
    check_mask(hidden, "hidden", uv.shape[:-1])
    if visible is not None:
        check_mask(visible, "visible", uv.shape[:-1])
