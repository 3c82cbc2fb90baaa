"""Hands that were read from somewhere, as a PyG dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

from handgraph._records import project_all, require_all, require_cameras
from handgraph.datasets.features import WithFeatures
from handgraph.geometry import keybone_length, relative_depth
from handgraph.geometry.depth import KEYBONE
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND

CHANNELS = {"uv": 2, "xyz": 3, "cue": 1, "confidence": 1}
"""Entries that each joint has, ``[n, J, channels]``."""

MASKS = ("visible", "found")
"""Entries that are Bool ``[n, J]``."""

DETECTED = {"uv": torch.nan, "cue": torch.nan, "confidence": 0.0}
"""Entries of a detector, and what a missing joint has there."""


class KeypointDataset(WithFeatures, InMemoryDataset):
    """Hands from tensors, in the form of :class:`handgraph.datasets.SyntheticHands`.

    What follows from the rest is added: ``uv_true``, the pixels that ``xyz`` projects to, if there
    is a ``K``; ``uv``, the same, if nothing was detected; ``d`` and ``s``, relative depth and
    keybone length (Eq. 1), if the skeleton has a root and the paper's keybone.

    Args:
        tensors: Entries of all samples: ``uv`` or ``xyz``, and what else there is of ``K``,
            ``visible``, ``found``, ``confidence``, ``cue`` and ``s``. A joint that was not found
            is missing: its uv and cue become NaN, and its confidence 0, whatever they were.
        skeleton: Which joint is which.
        transform: Called with each sample (a ``Data``) when it is taken out.
        source: What error messages call the data.

    Shapes:
        uv ``[n, J, 2]``, xyz ``[n, J, 3]``, K ``[n, 3, 3]``, visible and found Bool ``[n, J]``,
        confidence and cue ``[n, J, 1]``, s ``[n]``. In a sample K is ``[1, 3, 3]`` and s ``[1]``.
        All but the masks become float32. If there is uv, a sample has ``x [J, 2 or 3]`` too: uv and
        confidence side by side, made after the transform, as PyG's usual loops want them.

    Units:
        uv and K in pixels, (u, v) order; xyz and s in metres, camera frame (with ``K``) or any
        other; cue and d in keybone lengths.

    Raises:
        TypeError: If an entry is no tensor or not numeric, or a mask is not bool.
        ValueError: If an entry is unknown or has the wrong shape, none is ``uv`` or ``xyz``, a
            number is not finite, a confidence is not in [0, 1], a joint is not before the camera,
            a K is none, or the joints of a keybone coincide. The message names the source and the
            first record.

    Example:
        >>> hands = KeypointDataset({"xyz": torch.rand(5, 21, 3)})
        >>> hands[2]
        Data(edge_index=[2, 40], xyz=[21, 3], s=[1], d=[21], num_nodes=21)
        >>> hands.tensors["d"].shape
        torch.Size([5, 21])
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        skeleton: Skeleton = HAND,
        *,
        transform: Callable[[Data], Any] | None = None,
        source: str = "KeypointDataset",
    ) -> None:
        super().__init__(None, transform)
        self.skeleton = skeleton
        entries = _checked(tensors, skeleton, source)
        _derive(entries, skeleton, source)
        edge_index = skeleton.edge_index
        self.data, self.slices = self.collate(
            [
                Data(edge_index=edge_index, num_nodes=skeleton.num_joints, **_sample(entries, i))
                for i in range(len(next(iter(entries.values()))))
            ]
        )
        self._shapes = {name: values.shape[1:] for name, values in entries.items()}

    def get(self, idx: int) -> Data:
        """Give a copy of one sample, so that transforms may change it in place."""
        return cast("Data", super().get(idx).clone())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All entries of all samples, stacked; of a slice of the dataset, those of the slice."""
        data: Any = self._data
        stacked = {name: data[name].reshape(-1, *shape) for name, shape in self._shapes.items()}
        if self._indices is None:
            return stacked
        index = torch.tensor(list(self._indices), dtype=torch.long)
        return {name: values[index] for name, values in stacked.items()}


def _sample(entries: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """One sample; K and s keep a first dimension, so that batching stacks them."""
    return {
        name: values[i : i + 1] if name in ("K", "s") else values[i]
        for name, values in entries.items()
    }


def _checked(tensors: Mapping[str, Tensor], skeleton: Skeleton, source: str) -> dict[str, Tensor]:
    """Entries of the right shapes and types, finite."""
    for name, values in tensors.items():
        if not isinstance(values, Tensor):
            kind = type(values).__name__
            raise TypeError(f"{source}: expected {name} to be a tensor, got {kind}")
    if "uv" not in tensors and "xyz" not in tensors:
        raise ValueError(f"{source}: expected uv or xyz, got {', '.join(tensors) or 'nothing'}")
    first = tensors["uv" if "uv" in tensors else "xyz"]
    shapes = _shapes(first.shape[0] if first.ndim else 0, skeleton.num_joints)
    for name, values in tensors.items():
        if name not in shapes:
            raise ValueError(f"{source}: unknown entry {name}; known are {', '.join(shapes)}")
        if (values.dtype == torch.bool) != (name in MASKS) or values.is_complex():
            kind = "bool" if name in MASKS else "real numbers"
            raise TypeError(f"{source}: expected {name} to be {kind}, got {values.dtype}")
        if list(values.shape) != shapes[name]:
            raise ValueError(
                f"{source}: expected {name} of shape {shapes[name]}, got {list(values.shape)}"
            )
    if not len(first):
        raise ValueError(f"{source}: expected at least one record, got none")
    entries = {n: v if n in MASKS else v.to(torch.float32) for n, v in tensors.items()}
    found = entries.get("found", torch.ones(1, 1, dtype=torch.bool)).unsqueeze(-1)
    for name, values in entries.items():
        known = values.isfinite() | ~found if name in DETECTED else values.isfinite()
        hint = "; say with found which joints are missing" if name == "uv" else ""
        require_all(known, source, f"{name} is not finite{hint}")
    if "confidence" in entries:
        good = (entries["confidence"] >= 0) & (entries["confidence"] <= 1)
        require_all(
            good | ~found, source, "confidence is not in [0, 1] (divide percentages by 100)"
        )
    missing = {name: value for name, value in DETECTED.items() if name in entries}
    return entries | {n: entries[n].where(found, value) for n, value in missing.items()}


def _shapes(num_samples: int, num_joints: int) -> dict[str, list[int]]:
    """The shape that each entry must have."""
    shapes = {name: [num_samples, num_joints, channels] for name, channels in CHANNELS.items()}
    others = {"K": [3, 3], "s": [], **{name: [num_joints] for name in MASKS}}
    return shapes | {name: [num_samples, *shape] for name, shape in others.items()}


def _derive(entries: dict[str, Tensor], skeleton: Skeleton, source: str) -> None:
    """Add what follows from ``xyz``: pixels, keybone length and relative depth."""
    if "K" in entries:
        require_cameras(entries["K"], source)
    if "xyz" not in entries:
        return
    xyz = entries["xyz"]
    if "K" in entries:
        entries["uv_true"] = project_all(xyz, entries["K"], source)
        entries.setdefault("uv", entries["uv_true"])
    if skeleton.root is not None and set(KEYBONE) <= set(skeleton.joints):
        entries.setdefault("s", keybone_length(xyz, skeleton))
        require_all(entries["s"] > 0, source, "the keybone has no length")
        entries["d"] = relative_depth(xyz, entries["s"], skeleton)
        require_all(entries["d"].isfinite(), source, "a relative depth is not finite")
