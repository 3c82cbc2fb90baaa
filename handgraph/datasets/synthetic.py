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

from handgraph.datasets.arguments import (
    as_detectors,
    check_integer,
    check_real,
    hand_model,
)
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

_VERSION = 2  # of the simulator: raise it whenever the same arguments give other numbers
_SURFACE = 1  # of the rendered hand's anatomy: the same, for what is visible in images
_FRAME = 256  # side of the image that datasets without images are measured in, pixels
_SMALLEST = 16  # images that can show a hand
_SHORTEST = 8.0  # focal length that shows 11 joints apart, pixels; hands are 0.3 m away or more


NARROW = {"shape": HandShape.narrow(), "pose": HandPose.narrow(), "view": HandView.narrow()}
"""Arguments of a simulator whose hands differ less: ``SyntheticHands(1000, **NARROW)``."""


class SyntheticHands(WithFeatures):
    r"""Hands of random shape and pose, hidden in part by themselves and by an object.

    A hand of some shape in some pose is turned at random and put before a pinhole camera, so that
    all joints lie in the image. 60 % of the images show an object (a capsule or a box) in front of
    the hand. A joint is visible if the first surface on the ray toward it is its own skin. A model
    of a 2D detector gives positions, a score and a depth cue for every joint, hidden or not.

    The defaults cover real hands: see :class:`HandShape`, :class:`HandPose` and :class:`HandView`.
    ``SyntheticHands(1000, **NARROW)`` draws nearly constant shapes and simpler poses before one
    camera.

    Without ``image_size`` bones are capsules, and no image is rendered. With it the hand has a
    palm, skin and a forearm; samples carry an image, its depth and its mask, which are rendered
    when they are taken out, a loader's batch at once; and a joint is visible if the first surface
    in its *pixel* belongs to the bones that meet in it. All else follows from that: which images
    are severe, detections and cues.

    Severe images (at most 10 joints visible) are *matched*: the hand alone would show at least 11
    joints, as it does in all images, and an object hides at least 11. So the object makes an image
    severe and not the pose.

    The data are a function of the arguments alone. A sample does not depend on ``num_samples``: the
    first 1000 of 5000 are the 1000. About 7500 samples are made in a second on one core, 2500 to
    4000 with ``image_size``, and 200 to 400 images of 128 pixels rendered, or 50 to 120 of 256.

    Args:
        num_samples: Number of samples.
        seed: Non-negative integer. Training and test sets need different ones.
        root: Folder for the cache; made if there is none. Where it cannot be written to, there is
            a warning. Without it nothing is written. Images are never stored.
        image_size: Side of the square images in pixels, at least 16. Without it there are no
            images, and ``uv`` and ``K`` are those of a camera of 256 pixels.
        shape: How hands differ. Default: ``HandShape()``.
        pose: How they bend. Default: ``HandPose()``.
        view: From where they are seen. Default: ``HandView()``. With ``image_size``, focal lengths
            must be at least 8 pixels.
        severe_fraction: Share of severe images, on average.
        occluder_fraction: Share of the other images that show an object, on average.
        left_fraction: Share of left hands, on average. A left hand and its image are the mirror
            images of a right hand.
        detector: What detects the joints; of several, one for each hand, drawn at random. Its
            ``repr`` is part of the cache's name. Default: ``HeatmapDetector()``.
        missing: Which joints the detector leaves out. Default: none.
        transform: Called with each sample (a ``Data``) when it is taken out.
        progress: Whether a progress bar is shown while the samples are made (in a terminal only).

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``. The property ``tensors`` holds
        the same entries for all samples, ``[n, 21, 2]`` and so on, and ``K`` as ``[n, 3, 3]``, but
        no images; :meth:`render` gives those.

        - ``uv [21, 2]``: detected positions; ``uv_true``: projected joints; ``uv_clean``: what the
          detector would find if nothing were hidden
        - ``confidence [21, 1]``: score; ``confidence_clean``: as if all were visible
        - ``cue [21, 1]``: relative depth, with noise; ``cue_clean``: as if all were visible
        - ``xyz [21, 3]``: joints in the camera frame; ``K [1, 3, 3]``: intrinsic matrix
        - ``x [21, 3]``: uv and confidence side by side, made after the transform, as PyG's usual
          loops want them
        - ``visible [21]``: Bool; ``left [1]``: Bool, whether it is a left hand
        - ``found [21]``: Bool, with ``missing`` only. Where it is False, ``uv`` and ``cue`` are NaN
          and the score is 0
        - ``d [21]``: relative depth (Eq. 1); ``s [1]``: keybone length
        - with ``image_size`` S: ``image [1, 3, S, S]`` uint8, RGB; ``depth [1, S, S]``, 0 where
          there is only background; ``mask [1, S, S]`` uint8 with the codes of RHD: 0 background and
          objects, 1 forearm, 18 to 32 the fingers, three for each from its tip to the palm, thumb
          to pinky, 33 the palm

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
        check_integer("num_samples", num_samples, least=1)
        check_integer("seed", seed, least=0)
        if image_size is not None:
            check_integer("image_size", image_size, least=_SMALLEST)
        size = _FRAME if image_size is None else int(image_size)
        model = hand_model(shape, pose, view)
        if image_size is not None and min(model.view.focal) * size < _SHORTEST:
            raise ValueError(
                f"SyntheticHands: expected focal lengths of at least {_SHORTEST:g} pixels, "
                f"got {min(model.view.focal) * size:g}"
            )
        check_real("severe_fraction", severe_fraction, least=0.0, most=1.0)
        check_real("occluder_fraction", occluder_fraction, least=0.0, most=1.0)
        check_real("left_fraction", left_fraction, least=0.0, most=1.0)
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
                warnings.warn(f"{path} is damaged; simulating its hands again", stacklevel=3)
            tensors = simulate(num_samples, self.settings, progress)
            try:
                write_tensors(path, tensors, key)
            except OSError as error:
                warnings.warn(f"the hands were not kept (root={root!s}): {error}", stacklevel=3)
        return tensors

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All entries of all samples, stacked; of a slice of the dataset, those of the slice."""
        if self._indices is None:
            return dict(self._tensors)
        index = torch.tensor(list(self._indices), dtype=torch.long)
        return {name: values[index] for name, values in self._tensors.items()}

    def len(self) -> int:
        """Give the number of samples that were simulated."""
        return len(self._tensors["uv"])

    def get(self, idx: int) -> Data:
        """Give one sample as a graph."""
        return self._samples([idx])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Give many samples, as loaders ask for them; their images are rendered at once."""
        chosen = self.indices()
        samples = self._samples([chosen[k] for k in indices])
        made = [s if self.transform is None else self.transform(s) for s in samples]
        return [add_features(sample) for sample in made]

    def render(
        self,
        index: int | slice | Sequence[int] | Tensor,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Render images of this dataset, many at once.

        The images are functions of the dataset's arguments and their own numbers: not of the other
        images that are rendered with them.

        Args:
            index: Which samples.
            device: Where the work is done. Default: the CPU.

        Shapes:
            output: ``image`` uint8 ``[n, 3, S, S]``, ``depth`` float32 ``[n, S, S]``, ``mask``
            uint8 ``[n, S, S]``, on the device.

        Raises:
            ValueError: If the dataset has no images.
            IndexError: If there is no such sample.

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
        """Render one focal length after the other: all images of a batch share theirs."""
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
        index = torch.tensor(numbers, dtype=torch.long)
        entries = {name: values[index] for name, values in self._tensors.items()}
        for name in ("K", "s", "left"):
            entries[name] = entries[name][:, None]
        if self._stage:
            pictures = self._render(index, torch.device("cpu"))
            entries.update({name: values[:, None] for name, values in pictures.items()})
        return [
            HAND.to_data(**{name: values[k].clone() for name, values in entries.items()})
            for k in range(len(numbers))
        ]


def _positions(index: int | slice | Sequence[int] | Tensor, length: int) -> Tensor:
    """Turn what may stand in brackets into positions, all of them there."""
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
