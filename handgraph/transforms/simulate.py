"""Simulated occlusion of a sample."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from handgraph._check import check_positive, check_skeleton
from handgraph.detectors import Detector
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND
from handgraph.transforms.base import RandomTransform, picture_names, require
from handgraph.transforms.occlude import simulate_occlusion
from handgraph.transforms.regions import check_region, sample_region


class SimulateOcclusion(RandomTransform):
    """Simulate the detections of a sample with occlusion of a random region.

    :func:`sample_region` draws the region. :func:`simulate_occlusion` computes new values of ``uv``
    and, if present, ``cue`` and ``confidence``. ``visible`` becomes False for hidden joints; by
    default all joints are visible. Other entries are unchanged. A ``Data`` with an image raises an
    error, since the image would still show the hidden joints. For batches, call the two functions.

    Args:
        probability: Probability that a sample has hidden joints.
        radius: Minimum and maximum radius of the region around a random joint.
        hops: Number of bones; joints up to this graph distance of that joint are hidden.
        detector: Model of the detector. Default: :class:`handgraph.detectors.HeatmapDetector`.
        image_size: Side of the image; the errors of hidden joints grow with it.
        skeleton: Skeleton of the joints.
        generator: Random generator. Default: PyTorch's global generator, which data loaders seed in
            each worker. Other generators raise an error in a worker.

    Units:
        uv, radius and image_size in pixels; cue in keybone lengths.

    Raises:
        TypeError: If generator is not a ``torch.Generator``, or an entry has the wrong type.
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
        check_skeleton(skeleton, "SimulateOcclusion")
        check_positive(image_size, "image_size")
        self.probability, self.radius, self.hops = probability, radius, hops
        self.detector, self.image_size, self.skeleton = detector, image_size, skeleton

    def forward(self, data: Data) -> Data:
        """Simulate occlusion, and replace ``uv``, ``cue``, ``confidence`` and ``visible``."""
        require(self, data, "uv")
        if pictures := picture_names(data):
            raise ValueError(
                "SimulateOcclusion: the image would still show the hidden joints: "
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
        """Show probability, radius and hops."""
        return f"SimulateOcclusion({self.probability}, {self.radius}, hops={self.hops})"
