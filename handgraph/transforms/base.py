"""Base classes of transforms, and checks of the entries of a ``Data``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from handgraph.datasets.features import FEATURES, are_features, features_of

NORMALIZED = 4.0  # smaller hands are in normalised coordinates


class HandTransform(BaseTransform):
    """A transform of a ``Data`` that recomputes its node features.

    In the samples of a dataset, ``x`` consists of ``uv`` and ``confidence``, and is recomputed. Any
    other ``x`` does not change.

    Raises:
        TypeError: If the argument is not a ``Data``.
    """

    def __call__(self, data: Any) -> Any:  # noqa: ANN401 (as in PyG)
        """Transform a shallow copy."""
        if not isinstance(data, Data):
            raise TypeError(
                f"{type(self).__name__}: expected a Data, got {type(data).__name__}: "
                "call skeleton.to_data(uv=...)"
            )
        return renew_features(data, super().__call__(data))


def renew_features(before: Data, after: Data) -> Data:
    """Recompute ``x`` of ``after`` if it consists of the entries of ``before``."""
    changed = any(after[name] is not before[name] for name in FEATURES if name in before)
    if "x" in after and changed and are_features(after["x"], before):
        after.x = features_of(after)
    return after


class RandomTransform(HandTransform):
    """A transform that draws random numbers.

    The default source is PyTorch's global generator, which a data loader seeds in each worker and
    each epoch. Its numbers depend on the number of workers. A generator passed here raises an error
    in a worker: each worker has a copy, and all copies would give the same numbers.

    Args:
        generator: Random generator. Default: PyTorch's global generator.

    Raises:
        TypeError: If ``generator`` is neither a ``torch.Generator`` nor None.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(
                f"{type(self).__name__}: expected a torch.Generator or None, got {generator!r}"
            )
        self._generator = generator

    @property
    def generator(self) -> torch.Generator | None:
        """The source of random numbers, or ``None`` for PyTorch's global generator.

        Raises:
            RuntimeError: In a worker of a data loader, if the transform has a generator.
        """
        if self._generator is not None and get_worker_info() is not None:
            raise RuntimeError(
                f"{type(self).__name__}: every worker would draw the same numbers from its copy of "
                "the generator. Leave generator=None and pass it to the DataLoader, "
                "which seeds each worker"
            )
        return self._generator


def require(transform: BaseTransform, data: Data, *names: str) -> None:
    """Raise unless ``data`` has all of these entries."""
    if any(name not in data for name in names):
        raise ValueError(
            f"{type(transform).__name__} needs {' and '.join(names)}; "
            f"this Data has {', '.join(sorted(data.keys())) or 'nothing'}"
        )


def require_camera(transform: BaseTransform, data: Data) -> None:
    """Raise unless ``data.K`` is the camera matrix of one sample."""
    require(transform, data, "K")
    if list(data.K.shape) != [1, 3, 3]:
        raise ValueError(
            f"{type(transform).__name__}: expected K of shape [1, 3, 3] (one sample, no batch), "
            f"got {list(data.K.shape)}"
        )


def pixel_names(data: Data) -> list[str]:
    """Return the names of pixel entries: ``uv`` and those that start with ``uv_``."""
    return [name for name in data.keys() if name == "uv" or name.startswith("uv_")]  # noqa: SIM118


def picture_names(data: Data) -> list[str]:
    """Return the names of image entries: ``image``, ``mask`` and ``depth``."""
    return [name for name in ("image", "mask", "depth") if name in data]


def require_sides(transform: BaseTransform, data: Data, **sides: int) -> None:
    """Raise unless all images have the given ``height`` and ``width``."""
    for name in picture_names(data):
        height, width = data[name].shape[-2:]
        if {"height": height, "width": width} | sides != {"height": height, "width": width}:
            raise ValueError(
                f"{type(transform).__name__}: expected {name} of "
                f"{' and '.join(f'{side} {length}' for side, length in sides.items())}, "
                f"got {list(data[name].shape)}"
            )


def require_pixels(transform: BaseTransform, data: Data) -> None:
    """Raise if ``data`` has images, but ``uv`` seems to be normalised."""
    for name in pixel_names(data) if picture_names(data) else []:
        if (data[name].amax(dim=0) - data[name].amin(dim=0)).max() < NORMALIZED:
            raise ValueError(
                f"{type(transform).__name__}: all joints of {name} lie within {NORMALIZED:g} "
                "pixels: with images, apply this transform before NormalizeKeypoints"
            )


def to_device_of(data: Data, x: Tensor) -> Tensor:
    """Move a tensor to the device of the tensors of ``data``."""
    devices = (value.device for value in data.to_dict().values() if isinstance(value, Tensor))
    return x.to(next(devices, x.device))


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal numbers in the shape of ``x``."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def uniform_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw uniform numbers from 0 to 1 in the shape of ``x``."""
    return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
