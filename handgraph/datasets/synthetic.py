"""Simulated hands under occlusion, as a PyG dataset."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset

from handgraph.datasets.cache import read_tensors, write_tensors
from handgraph.datasets.simulator import Settings, simulate
from handgraph.skeletons import HAND

_VERSION = 1  # of the simulator: raise it whenever the same arguments give other numbers


class SyntheticHands(Dataset):
    r"""Right hands of random shape and pose, hidden in part by themselves and by an object.

    A kinematic hand within anatomical limits is turned at random and put before a pinhole camera,
    so that all joints lie in the image. Its bones are capsules; 60 % of the images show an object
    (a capsule or a box) before the hand. A joint is visible if the first surface on the ray toward
    it is its own skin. A model of a 2D detector gives positions, a score and a depth cue for every
    joint, hidden or not. No image is rendered.

    Severe images (at most 10 joints visible) are *matched*: the hand alone would show at least 11
    joints, as it does in all images, and an object hides at least 11. So the object makes an image
    severe and not the pose.

    The data are a function of the arguments alone. A sample does not depend on ``num_samples``: the
    first 1000 of 5000 are the 1000. About 8000 samples are made in a second on one core.

    Args:
        num_samples: Number of samples.
        seed: Non-negative integer. Training and test sets need different ones.
        root: Folder for the cache; made if there is none. Without it nothing is written.
        image_size: Side of the square image in pixels.
        focal: Focal length in pixels, from ``image_size / 10`` to ``100 * image_size``.
        severe_fraction: Share of severe images, on average.
        occluder_fraction: Share of the other images that show an object, on average.
        noise: Standard deviation of the detector's noise on u and on v, in pixels.
        transform: Called with each sample (a ``Data``) when it is taken out.
        progress: Whether a progress bar is shown while the samples are made (in a terminal only).

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``. The property ``tensors`` holds
        the same entries for all samples, ``[n, 21, 2]`` and so on, and ``K`` as ``[n, 3, 3]``.

        - ``uv [21, 2]``: detected positions; ``uv_true``: projected joints; ``uv_clean``: what the
          detector would find if nothing were hidden, equal to ``uv`` at visible joints
        - ``confidence [21, 1]``: score in (0, 1), AUC 0.90 for visible against hidden joints;
          ``confidence_clean``: as if all were visible
        - ``cue [21, 1]``: relative depth, with noise, of what the image shows at the joint: the
          joint, or the surface that hides it; ``cue_clean``: always the joint's
        - ``xyz [21, 3]``: joints in the camera frame; ``K [1, 3, 3]``: intrinsic matrix
        - ``visible [21]``: Bool
        - ``d [21]``: relative depth (Eq. 1); ``s [1]``: keybone length

    Units:
        ``uv``, ``uv_true``, ``uv_clean`` and ``K`` in pixels, (u, v) order, integers are pixel
        centres; ``xyz`` and ``s`` in metres (x right, y down, z forward); ``d``, ``cue`` and
        ``cue_clean`` in keybone lengths (noise of the cue: 0.5).

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
    """

    def __init__(
        self,
        num_samples: int,
        *,
        seed: int = 0,
        root: str | Path | None = None,
        image_size: int = 256,
        focal: float = 500.0,
        severe_fraction: float = 0.2,
        occluder_fraction: float = 0.6,
        noise: float = 1.5,
        transform: Callable[[Data], Any] | None = None,
        progress: bool = True,
    ) -> None:
        _check_integer("num_samples", num_samples, least=1)
        _check_integer("seed", seed, least=0)
        _check_integer("image_size", image_size, least=1)
        _check_real("focal", focal, least=image_size / 10, most=image_size * 100)
        _check_real("severe_fraction", severe_fraction, least=0.0, most=1.0)
        _check_real("occluder_fraction", occluder_fraction, least=0.0, most=1.0)
        _check_real("noise", noise, least=0.0)
        self.settings = Settings(
            int(seed),
            int(image_size),
            float(focal),
            float(severe_fraction),
            float(occluder_fraction),
            float(noise),
        )
        super().__init__(None if root is None else str(root), transform)
        self._tensors = self._load(int(num_samples), root, progress)

    def _load(self, num_samples: int, root: str | Path | None, progress: bool) -> dict[str, Tensor]:
        """Read the cache, or simulate and write it."""
        if root is None:
            return simulate(num_samples, self.settings, progress)
        key = f"version={_VERSION} num_samples={num_samples} {self.settings}"
        name = f"synthetic_hands_{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"
        path = Path(root).expanduser() / name
        tensors = read_tensors(path, key) if path.exists() else None
        if tensors is None:
            if path.exists():
                warnings.warn(f"{path} is damaged; simulating its hands again", stacklevel=3)
            tensors = simulate(num_samples, self.settings, progress)
            write_tensors(path, tensors, key)
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
        sample = {name: values[idx].clone() for name, values in self._tensors.items()}
        sample["K"], sample["s"] = sample["K"][None], sample["s"][None]
        return HAND.to_data(**sample)


def _check_integer(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"SyntheticHands: {name} must be an integer, got {value!r}")
    if int(value) < least:
        raise ValueError(f"SyntheticHands: {name} must be at least {least}, got {value}")


def _check_real(name: str, value: object, *, least: float, most: float = math.inf) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"SyntheticHands: {name} must be a number, got {value!r}")
    if not (least <= float(value) <= most and math.isfinite(value)):
        limits = f"from {least:g} to {most:g}" if most < math.inf else f"finite, at least {least:g}"
        raise ValueError(f"SyntheticHands: {name} must be {limits}, got {value!r}")
