"""Checks of dataset entries, and entries that are derived from others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handgraph._convert import to_tensor
from handgraph._records import project_all, require_all, require_cameras
from handgraph.geometry import keybone_length, relative_depth
from handgraph.geometry.depth import KEYBONE
from handgraph.skeleton import Skeleton

Values = Tensor | NDArray[Any]
"""Numbers as a tensor or as a NumPy array."""

CHANNELS = {"uv": 2, "xyz": 3, "cue": 1, "confidence": 1}
"""Number of channels of each entry of shape ``[n, J, channels]``."""

MASKS = ("visible", "found")
"""Names of the entries that are Bool ``[n, J]``."""

DETECTED = {"uv": torch.nan, "cue": torch.nan, "confidence": 0.0}
"""Entries from a detector, and their values for a missing joint."""


def as_tensor(values: object, name: str, source: str) -> Tensor:
    """Return a tensor without its gradient, or copy an array; masked entries become NaN."""
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" and values.ndim:
        return to_tensor(values, name)
    got = type(values).__name__
    if isinstance(values, np.ndarray):
        got = f"{values.dtype} of {list(values.shape)}"
    raise TypeError(f"{source}: expected {name} as a tensor or an array of numbers, got {got}")


def check_entries(
    values: Mapping[str, Values], skeleton: Skeleton, source: str
) -> dict[str, Tensor]:
    """Check shapes, types and finite values, and return the entries as tensors."""
    tensors = {name: as_tensor(value, name, source) for name, value in values.items()}
    if "uv" not in tensors and "xyz" not in tensors:
        raise ValueError(f"{source}: expected uv or xyz, got {', '.join(tensors) or 'nothing'}")
    first = tensors["uv" if "uv" in tensors else "xyz"]
    shapes = _shapes(first.shape[0] if first.ndim else 0, skeleton.num_joints)
    entries = {name: _entry(name, value, shapes, source) for name, value in tensors.items()}
    if not len(first):
        raise ValueError(f"{source}: expected at least one record, got none")
    if "uv" in entries and "found" not in entries and entries["uv"].isnan().any():
        entries["found"] = ~entries["uv"].isnan().any(dim=-1)
    return _without_missing(entries, source)


def _shapes(num_samples: int, num_joints: int) -> dict[str, list[int]]:
    """Return the expected shape of each entry."""
    shapes = {name: [num_samples, num_joints, channels] for name, channels in CHANNELS.items()}
    others = {"K": [3, 3], "s": [], **{name: [num_joints] for name in MASKS}}
    return shapes | {name: [num_samples, *shape] for name, shape in others.items()}


def _entry(name: str, values: Tensor, shapes: dict[str, list[int]], source: str) -> Tensor:
    """Check type and shape of an entry; a single channel dimension may be omitted."""
    if name not in shapes:
        raise ValueError(
            f"{source}: unknown entry {name}; known are {', '.join(shapes)}, others go into extra"
        )
    if (values.dtype == torch.bool) != (name in MASKS) or values.is_complex():
        kind = "bool" if name in MASKS else "real numbers"
        raise TypeError(f"{source}: expected {name} to be {kind}, got {values.dtype}")
    if CHANNELS.get(name) == 1 and values.ndim == 2:
        values = values.unsqueeze(-1)
    if list(values.shape) != shapes[name]:
        raise ValueError(
            f"{source}: expected {name} of shape {shapes[name]}, got {list(values.shape)}"
        )
    return values if name in MASKS else values.to(torch.float32)


def _without_missing(entries: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Check the values of detected joints, and fill in those of missing joints."""
    every = next(iter(entries.values())).new_ones(1, 1, dtype=torch.bool)
    found = entries.get("found", every).unsqueeze(-1)
    for name, values in entries.items():
        known = values.isfinite() | ~found if name in DETECTED else values.isfinite()
        hint = "; a missing joint is NaN, or False in found" if name == "uv" else ""
        require_all(known, source, f"{name} is not finite{hint}")
    if "confidence" in entries:
        good = (entries["confidence"] >= 0) & (entries["confidence"] <= 1)
        require_all(
            good | ~found, source, "confidence is not in [0, 1] (divide percentages by 100)"
        )
    missing = {name: value for name, value in DETECTED.items() if name in entries}
    return entries | {n: entries[n].where(found, value) for n, value in missing.items()}


def derive_entries(entries: dict[str, Tensor], skeleton: Skeleton, source: str) -> None:
    """Add the entries derived from ``xyz``: pixels, keybone length and relative depth."""
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
