"""Occlusion of one sample."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from handgraph._check import check_positive
from handgraph.detectors import Detector
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND
from handgraph.transforms.base import RandomTransform, picture_names, require
from handgraph.transforms.occlude import simulate_occlusion
from handgraph.transforms.regions import check_region, sample_region


class SimulateOcclusion(RandomTransform):
    """Hide the joints of a region, and give what a 2D detector would say of them then.

    :func:`sample_region` draws the region, :func:`simulate_occlusion` gives new values of ``uv``
    and, where the ``Data`` has them, ``cue`` and ``confidence``. ``visible`` becomes False for
    hidden joints. Without ``visible`` all joints were visible. Everything else stays. A picture
    would still show what is said to be hidden, so a ``Data`` that has one is refused. For many
    samples at once call the two functions.

    Args:
        probability: That anything is hidden.
        radius: Least and greatest radius of the region around a random joint.
        hops: Number of bones to that joint up to which joints are hidden wherever they lie.
        detector: How detection fails. Default: :class:`handgraph.detectors.HeatmapDetector`.
        image_size: Side of the image, with which the errors of hidden joints grow.
        skeleton: Which joints are neighbours.
        generator: Source of random numbers; PyTorch's own if None, which data loaders seed for
            each worker. A generator of one's own is refused in a worker.

    Units:
        Pixels; the cue in keybone lengths.

    Raises:
        TypeError: If the generator is none, or an entry has the wrong type.
        ValueError: If an argument is out of its range, or if a ``Data`` has no ``uv`` or an entry
            of the wrong shape, or has an ``image``, ``mask`` or ``depth``.

    Example:
        >>> import torch
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.transforms import SimulateOcclusion
        >>> hide = SimulateOcclusion(probability=1.0)
        >>> hands = SyntheticHands(100, occluder_fraction=0.0, severe_fraction=0.0)
        >>> seen = sum(int(hand.visible.sum()) for hand in hands)
        >>> sum(int(hide(hand).visible.sum()) for hand in hands) < 0.9 * seen
        True
    """

    def __init__(
        self,
        probability: float = 0.6,
        radius: tuple[float, float] = (10.0, 100.0),
        *,
        hops: int = 0,
        detector: Detector | None = None,
        image_size: int = 256,
        skeleton: Skeleton = HAND,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        check_region(probability, radius, hops)
        check_positive(image_size, "image_size")
        self.probability, self.radius, self.hops = probability, radius, hops
        self.detector, self.image_size, self.skeleton = detector, image_size, skeleton

    def forward(self, data: Data) -> Data:
        """Replace ``uv``, ``cue``, ``confidence`` and ``visible``."""
        require(self, data, "uv")
        if pictures := picture_names(data):
            raise ValueError(
                "SimulateOcclusion: draws nothing, and the picture would show the hidden joints: "
                f"remove {' and '.join(pictures)} from the Data first"
            )
        hidden = sample_region(
            data.uv,
            probability=self.probability,
            radius=self.radius,
            hops=self.hops,
            skeleton=self.skeleton,
            generator=self.generator,
        )
        absent = torch.zeros_like(data.uv[..., :1])
        seen = simulate_occlusion(
            data.uv,
            data.cue if "cue" in data else absent,
            data.confidence if "confidence" in data else absent,
            hidden,
            data.visible if "visible" in data else None,
            detector=self.detector,
            image_size=self.image_size,
            generator=self.generator,
        )
        data.uv, data.visible = seen.uv, seen.visible
        if "cue" in data:
            data.cue = seen.cue
        if "confidence" in data:
            data.confidence = seen.confidence
        return data

    def __repr__(self) -> str:
        """Show what is hidden."""
        return f"SimulateOcclusion({self.probability}, {self.radius}, hops={self.hops})"
