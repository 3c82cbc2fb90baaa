"""Reading of JSON, with errors that name the record and the field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

LARGEST = 1e9
"""Upper bound of coordinates, which NaN and infinity do not satisfy."""

MAX_SCORE = 2.0
"""Upper bound of confidences; heatmap peaks may exceed 1."""


class Loaded(NamedTuple):
    """The content of a file, and its name in error messages."""

    content: Any
    name: str


def load(source: object, what: str) -> Loaded:
    """Return the content of a JSON file and its name; other objects are returned unchanged.

    A byte order mark is skipped.
    """
    if isinstance(source, Loaded):
        return source
    if not isinstance(source, str | PathLike):
        return Loaded(source, what)
    path = Path(source).expanduser()
    try:
        return Loaded(json.loads(path.read_text(encoding="utf-8-sig")), str(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON in UTF-8: {error}") from error


def fail(where: str, expected: str, got: object) -> ValueError:
    """Return an error that names the record and the field."""
    return ValueError(f"{where}: expected {expected}, got {_shorten(repr(got))}")


def entries(value: object, where: str) -> list[Any]:
    """Check that a field is a list."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise fail(where, "a list", value)
    return list(value)


def record(value: object, where: str) -> Mapping[str, Any]:
    """Check that a field is a JSON object."""
    if not isinstance(value, Mapping):
        raise fail(where, "a JSON object", value)
    return value


def field(value: object, key: str, where: str) -> object:
    """Return a required field of a JSON object."""
    found = record(value, where)
    if key not in found:
        keys = _shorten(", ".join(map(str, found)))
        raise ValueError(f"{where}: expected a field {key!r}, got {keys or 'none'}")
    return found[key]


def number(value: object, where: str) -> float:
    """Check that a field is a finite number."""
    known = isinstance(value, int | float | np.integer | np.floating)
    if isinstance(value, bool) or not known or not abs(cast("float", value)) <= LARGEST:
        raise fail(where, "a finite number", value)
    return float(cast("float", value))


def table(value: object, rows: int, columns: int, where: str) -> Tensor:
    """Convert rows of numbers, nested or flat, to Float64 ``[rows, columns]``."""
    numbers: list[float] = []
    for i, row in enumerate(entries(value, where)):
        nested = isinstance(row, Sequence | np.ndarray) and not isinstance(row, str)
        if nested and len(row) != columns:
            raise fail(f"{where}[{i}]", f"{columns} numbers", row)
        numbers += [number(x, f"{where}[{i}]") for x in (row if nested else [row])]
    if len(numbers) != rows * columns:
        raise ValueError(
            f"{where}: expected {rows} rows of {columns} numbers, "
            f"got {len(numbers)} numbers of {rows * columns}"
        )
    return torch.tensor(numbers, dtype=torch.float64, device="cpu").reshape(rows, columns)


def flags(value: object, rows: int, where: str) -> Tensor:
    """Convert flags (0, 1 or bool; nested or flat) to Bool ``[rows]``."""
    found: list[bool] = []
    for i, row in enumerate(entries(value, where)):
        flag = row[0] if isinstance(row, Sequence) and len(row) == 1 else row
        if not isinstance(flag, int | float) or flag not in (0, 1):
            raise fail(f"{where}[{i}]", "0, 1, true or false", row)
        found.append(bool(flag))
    if len(found) != rows:
        raise ValueError(f"{where}: expected {rows} flags, got {len(found)}")
    return torch.tensor(found, device="cpu")


def hide(uv: Tensor, detected: Tensor) -> Tensor:
    """Return pixels in float32, NaN where a joint is missing."""
    return uv.to(torch.float32).where(detected.unsqueeze(-1), torch.nan)


def check_scores(score: Tensor, where: str) -> Tensor:
    """Raise for invalid confidences; values slightly above 1 are valid here."""
    bad = (score < 0) | (score > MAX_SCORE)
    if bad.any():
        joint = int(bad.nonzero()[0, 0])
        raise fail(f"{where}: joint {joint}", "a score from 0 to 1", score[joint].item())
    return score.to(torch.float32)


def _shorten(text: str) -> str:
    return text[:60] + "..." * (len(text) > 60)
