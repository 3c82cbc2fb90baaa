"""Simulated hands under occlusion, as a PyG dataset."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph._check import check_between, check_count
from handgraph.datasets.arguments import as_detectors, check_missing, hand_model
from handgraph.datasets.cache import read_tensors, write_tensors
from handgraph.datasets.camera import Camera
from handgraph.datasets.features import WithFeatures, add_features
from handgraph.datasets.hand_pose import HandPose
from handgraph.datasets.hand_shape import HandShape
from handgraph.datasets.hand_view import HandView
from handgraph.datasets.render.pictures import mirror, render
from handgraph.datasets.render.stage import Stage
from handgraph.datasets.simulator import Settings, simulate
from handgraph.detectors import Detector, Missing
from handgraph.skeletons import HAND

_VERSION = 2  # of the simulator; increment if the same arguments give other numbers
_SURFACE = 1  # of the rendered anatomy; increment if visibility in images changes
_FRAME = 256  # image side of datasets without images, pixels
_SMALLEST = 16  # smallest image side that can show a hand, pixels
_SHORTEST = 8.0  # smallest focal length that separates 11 joints at 0.3 m, pixels


NARROW = {"shape": HandShape.narrow(), "pose": HandPose.narrow(), "view": HandView.narrow()}
"""Arguments for hands with little variation: ``SyntheticHands(1000, **NARROW)``."""


class SyntheticHands(WithFeatures):
    r"""Simulated hands of random shape and pose under self-occlusion and occlusion by an object.

    Each hand has a random shape, pose and orientation. It is placed in front of a pinhole camera so
    that all joints lie in the image. 60 % of the images that are not severe show an object (a
    capsule or a box) in front of the hand. A joint is visible if its own surface is the first on
    the ray toward it. A model of a 2D detector gives a position, a confidence and a depth cue for
    every joint, visible or occluded.

    The defaults cover real hands: see :class:`HandShape`, :class:`HandPose` and :class:`HandView`.
    ``SyntheticHands(1000, **NARROW)`` draws nearly constant shapes and simpler poses for one
    camera.

    Without ``image_size``, bones are capsules and no image is rendered. With it, the hand has a
    palm, skin and a forearm, and samples have an image, a depth map and a mask. These are rendered
    on access, in batches under a data loader. A joint is then visible if the first surface in its
    *pixel* belongs to the bones that end in it. Severe images, detections and cues follow this
    visibility.

    Severe images (at most 10 joints visible) are *matched*: without the object, at least 11 joints
    are visible, as in all images, and the object covers at least 11. The severe occlusion is
    thus caused by the object and not by the pose.

    The data depend only on the arguments. A sample does not depend on ``num_samples``: the first
    1000 of 5000 samples equal those of a dataset of 1000. One core simulates about 7500 samples per
    second, or 2500 to 4000 with ``image_size``. It renders 200 to 400 images of 128 pixels per
    second, or 50 to 120 of 256.

    Args:
        num_samples: Number of samples.
        seed: Integer from 0 to 2**64 - 1. Training and test sets need different ones.
        root: Folder of the cache, created if needed. A folder that cannot be written to gives a
            warning. ``None`` disables the cache. Images are never cached.
        image_size: Side of the square images in pixels, at least 16. If ``None``, samples have no
            images, and ``uv`` and ``K`` refer to images of 256 pixels.
        shape: Distribution of hand shapes. Default: ``HandShape()``.
        pose: Distribution of poses. Default: ``HandPose()``.
        view: Distribution of views. Default: ``HandView()``. With ``image_size``, focal lengths
            must be at least 8 pixels.
        severe_fraction: Expected fraction of severe images.
        occluder_fraction: Expected fraction of the other images that show an object.
        left_fraction: Expected fraction of left hands. A left hand and its image are mirrored from
            a right hand.
        detector: Model of the 2D detector. From a sequence, each hand uses a random one. The name
            of the cache file depends on its ``repr``. Default: ``HeatmapDetector()``.
        missing: Rule for joints that the detector misses. Default: none are missing.
        transform: Function applied to each sample (a ``Data``) on access.
        progress: Whether to show a progress bar during simulation (in a terminal only).

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``. The property ``tensors`` stacks
        the entries over all samples, with ``K`` of shape ``[n, 3, 3]`` and without images, which
        :meth:`render` returns.

        - ``uv [21, 2]``: detected positions; ``uv_true``: projected joints; ``uv_clean``:
          detections without occlusion
        - ``confidence [21, 1]``: in [0, 1]; ``confidence_clean``: without occlusion
        - ``cue [21, 1]``: noisy relative depth; ``cue_clean``: without occlusion
        - ``xyz [21, 3]``: joints in the camera frame; ``K [1, 3, 3]``: intrinsic matrix
        - ``x [21, 3]``: node features, uv and confidence, concatenated after the transform
        - ``visible [21]``: Bool; ``left [1]``: Bool, whether the hand is a left hand
        - ``found [21]``: Bool, with ``missing`` only. Where False, ``uv`` and ``cue`` are NaN and
          ``confidence`` is 0
        - ``d [21]``: relative depth (Eq. 1); ``s [1]``: keybone length
        - with ``image_size`` S: ``image [1, 3, S, S]`` uint8, RGB; ``depth [1, S, S]``, 0 for the
          background; ``mask [1, S, S]`` uint8 with the codes of RHD: 0 background and objects, 1
          forearm, 18 to 32 the fingers (thumb to pinky, three codes each from tip to palm), 33 the
          palm

    Units:
        ``uv``, ``uv_true``, ``uv_clean`` and ``K`` in pixels, (u, v) order, integers are pixel
        centres; ``xyz``, ``s`` and ``depth`` in metres (x right, y down, z forward; ``depth`` is
        z); ``d``, ``cue`` and ``cue_clean`` in keybone lengths.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of its range.

    Example:
        >>> dataset = SyntheticHands(100, seed=1)
        >>> sample = dataset[0]
        >>> sample.uv.shape, sample.K.shape, sample.num_nodes
        (torch.Size([21, 2]), torch.Size([1, 3, 3]), 21)
        >>> dataset.tensors["xyz"].shape
        torch.Size([100, 21, 3])
        >>> SyntheticHands(100, seed=1, image_size=128)[0].image.shape
        torch.Size([1, 3, 128, 128])
    """

    def __init__(
        self,
        num_samples: int,
        *,
        seed: int = 0,
        root: str | Path | None = None,
        image_size: int | None = None,
        shape: HandShape | None = None,
        pose: HandPose | None = None,
        view: HandView | None = None,
        severe_fraction: float = 0.2,
        occluder_fraction: float = 0.6,
        left_fraction: float = 0.0,
        detector: Detector | Sequence[Detector] | None = None,
        missing: Missing | None = None,
        transform: Callable[[Data], Any] | None = None,
        progress: bool = True,
    ) -> None:
        check_count(num_samples, "num_samples", 1)
        check_count(seed, "seed", 0, 2**64 - 1)
        if image_size is not None:
            check_count(image_size, "image_size", _SMALLEST)
        size = _FRAME if image_size is None else int(image_size)
        model = hand_model(shape, pose, view)
        if image_size is not None and min(model.view.focal) * size < _SHORTEST:
            raise ValueError(
                f"SyntheticHands: expected focal lengths of at least {_SHORTEST:g} pixels, "
                f"got {min(model.view.focal) * size:g}"
            )
        check_between(severe_fraction, "severe_fraction", 0, 1)
        check_between(occluder_fraction, "occluder_fraction", 0, 1)
        check_between(left_fraction, "left_fraction", 0, 1)
        check_missing(missing)
        self.settings = Settings(
            int(seed),
            size,
            float(severe_fraction),
            float(occluder_fraction),
            model,
            as_detectors(detector),
            missing,
            float(left_fraction),
            rendered=image_size is not None,
        )
        super().__init__(None if root is None else str(root), transform)
        tensors = self._load(int(num_samples), root, progress)
        self._tensors = {k: v for k, v in tensors.items() if not k.startswith("stage_")}
        self._stage = {k: v for k, v in tensors.items() if k.startswith("stage_")}

    def _load(self, num_samples: int, root: str | Path | None, progress: bool) -> dict[str, Tensor]:
        """Read the cache, or simulate and write it."""
        if root is None:
            return simulate(num_samples, self.settings, progress)
        key = f"version={_VERSION} surface={_SURFACE} num_samples={num_samples} {self.settings}"
        name = f"synthetic_hands_{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"
        path = Path(root).expanduser() / name
        tensors = read_tensors(path, key) if path.exists() else None
        if tensors is None:
            if path.exists():
                warnings.warn(f"{path} is damaged; simulating the hands again", stacklevel=3)
            tensors = simulate(num_samples, self.settings, progress)
            try:
                write_tensors(path, tensors, key)
            except OSError as error:
                warnings.warn(f"the hands were not cached (root={root!s}): {error}", stacklevel=3)
        return tensors

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Entries of all samples, stacked; a slice of the dataset stacks its own samples."""
        if self._indices is None:
            return dict(self._tensors)
        index = torch.tensor(list(self._indices), dtype=torch.long, device="cpu")
        return {name: values[index] for name, values in self._tensors.items()}

    def len(self) -> int:
        """Return the number of samples."""
        return len(self._tensors["uv"])

    def get(self, idx: int) -> Data:
        """Return one sample as a graph."""
        return self._samples([idx])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Return a batch of samples for a data loader; their images are rendered together."""
        chosen = self.indices()
        samples = self._samples([chosen[k] for k in indices])
        made = [s if self.transform is None else self.transform(s) for s in samples]
        return [add_features(sample) for sample in made]

    def render(
        self,
        index: int | slice | Sequence[int] | Tensor,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Render a batch of images of this dataset.

        Each image depends only on the dataset's arguments and the sample's index, not on the other
        images of the batch.

        Args:
            index: Indices of the samples.
            device: Device to render on. Default: the CPU.

        Shapes:
            output: ``image`` uint8 ``[n, 3, S, S]``, ``depth`` float32 ``[n, S, S]``, ``mask``
            uint8 ``[n, S, S]``, on the device.

        Raises:
            ValueError: If the dataset has no images.
            IndexError: If an index is out of range.

        Example:
            >>> dataset = SyntheticHands(10, image_size=64, progress=False)
            >>> dataset.render([3, 5])["image"].shape
            torch.Size([2, 3, 64, 64])
        """
        if not self._stage:
            raise ValueError("render: this dataset has no images; give it an image_size")
        chosen = torch.tensor(list(self.indices()), dtype=torch.long, device="cpu")
        return self._render(chosen[_positions(index, len(chosen))], torch.device(device or "cpu"))

    def _render(self, index: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Render in groups of equal focal length."""
        focal = self._tensors["K"][index, 0, 0]
        lengths = focal.unique().tolist() or [1.0]
        rows = [(focal == length).nonzero()[:, 0] for length in lengths]
        parts = [
            self._render_alike(index[some], length, device)
            for some, length in zip(rows, lengths, strict=True)
        ]
        back = torch.cat(rows).argsort().to(device)
        return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}

    def _render_alike(self, index: Tensor, focal: float, device: torch.device) -> dict[str, Tensor]:
        stage = {name.removeprefix("stage_"): v[index] for name, v in self._stage.items()}
        left = self._tensors["left"][index]
        xyz = self._tensors["xyz"][index]
        right = xyz.where(~left[:, None, None], xyz * xyz.new_tensor([-1.0, 1.0, 1.0]))
        on_device = Stage(xyz=right, **stage).to(device)
        camera = Camera(self.settings.image_size, focal)
        pictures = render(on_device, camera, self.settings.seed, index.to(device))
        return mirror(pictures, left.to(device))._asdict()

    def _samples(self, numbers: list[int]) -> list[Data]:
        index = torch.tensor(numbers, dtype=torch.long, device="cpu")
        entries = {name: values[index] for name, values in self._tensors.items()}
        for name in ("K", "s", "left"):
            entries[name] = entries[name][:, None]
        if self._stage:
            pictures = self._render(index, torch.device("cpu"))
            entries.update({name: values[:, None] for name, values in pictures.items()})
        with torch.device("cpu"):  # independent of the default device
            return [
                HAND.to_data(**{name: values[k].clone() for name, values in entries.items()})
                for k in range(len(numbers))
            ]


def _positions(index: int | slice | Sequence[int] | Tensor, length: int) -> Tensor:
    """Convert an index as in ``dataset[index]`` to non-negative integers, and check its range."""
    if isinstance(index, slice):
        return torch.arange(length, device="cpu")[index]
    positions = torch.as_tensor(index, device="cpu")
    if positions.numel() == 0:
        return torch.zeros(0, dtype=torch.long, device="cpu")
    if positions.dtype == torch.bool or positions.is_floating_point() or positions.ndim > 1:
        raise TypeError(f"render: index must be an integer, a slice or integers, got {index!r}")
    positions = positions.long().reshape(-1)
    if not -length <= int(positions.min()) <= int(positions.max()) < length:
        raise IndexError(f"render: index must be from {-length} to {length - 1}, got {index!r}")
    return positions % length
