"""Files of lifted hands, as JSON and as a NumPy archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handgraph.datasets.archive import read_archive
from handgraph.formats._json import entries, fail, field, number
from handgraph.skeletons import HAND

Arrays = dict[str, NDArray[Any]]
"""Entries of all hands, stacked along the first dimension."""

_DRAWN: dict[str, tuple[tuple[int, ...], type]] = {
    "uv": ((HAND.num_joints, 2), float),
    "pose": ((HAND.num_joints, 3), float),
    "missing": ((HAND.num_joints,), bool),
    "side": ((), str),
    "name": ((), str),
}
"""Shape and type of the entries of a hand that a picture needs."""


def split(arrays: Arrays) -> list[dict[str, NDArray[Any]]]:
    """Return the entries of each hand."""
    return [{name: v[i] for name, v in arrays.items()} for i in range(len(arrays["uv"]))]


def write(folder: Path, arrays: Arrays) -> None:
    """Write ``hands.npz`` and ``hands.json``, which has null for NaN."""
    from handgraph.hub.keypoints import UNITS  # needs the extra hub

    folder.mkdir(parents=True, exist_ok=True)
    archive: dict[str, Any] = {"joints": np.array(HAND.joints), **arrays}
    np.savez(folder / "hands.npz", **archive)
    hands = [{name: _plain(values) for name, values in hand.items()} for hand in split(arrays)]
    units = {name: UNITS[name] for name in ("output", "frame")}
    content = {"joints": list(HAND.joints), "units": units, "hands": hands}
    text = json.dumps(content, allow_nan=False, ensure_ascii=False)
    (folder / "hands.json").write_text(text, encoding="utf-8")


def is_lifted(content: object) -> bool:
    """Return whether the content of a JSON file has the fields of ``hands.json``."""
    return isinstance(content, dict) and {"joints", "hands"} <= content.keys()


def read_json(content: object, name: str) -> Arrays:
    """Check the content of ``hands.json``, and return the entries that pictures need."""
    joints = field(content, "joints", name)
    if joints != list(HAND.joints):
        raise fail(f"{name}: joints", f"the joints of {HAND.name}", joints)
    hands = entries(field(content, "hands", name), f"{name}: hands")
    arrays: Arrays = {}
    for key, (shape, kind) in _DRAWN.items():
        places = [f"{name}: hands[{i}]" for i in range(len(hands))]
        values = [
            _nested(field(hand, key, place), shape, kind, f"{place}: {key}")
            for hand, place in zip(hands, places, strict=True)
        ]
        arrays[key] = np.array(values, kind).reshape(len(hands), *shape)
    return arrays


def read_npz(path: Path) -> Arrays:
    """Read the entries of ``hands.npz`` that pictures need."""
    lists = {key: values.tolist() for key, values in read_archive(path).items()}
    columns = {key: entries(field(lists, key, str(path)), f"{path}: {key}") for key in _DRAWN}
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise fail(str(path), "arrays of equally many hands", lengths)
    rows = zip(*columns.values(), strict=True)
    hands = [dict(zip(columns, row, strict=True)) for row in rows]
    return read_json({"joints": lists.get("joints"), "hands": hands}, str(path))


def _nested(value: object, shape: tuple[int, ...], kind: type, where: str) -> Any:  # noqa: ANN401
    """Check shape and type of nested lists, with NaN for null."""
    if shape:
        rows = entries(value, where)
        if len(rows) != shape[0]:
            raise ValueError(f"{where}: expected {shape[0]} entries, got {len(rows)}")
        return [_nested(row, shape[1:], kind, f"{where}[{i}]") for i, row in enumerate(rows)]
    if kind is float:
        return np.nan if value is None or value != value else number(value, where)
    if not isinstance(value, kind):
        raise fail(where, {bool: "true or false", str: "text"}[kind], value)
    return value


def _plain(values: NDArray[Any]) -> object:
    """Convert to lists for JSON, with ``None`` for NaN."""
    if values.dtype.kind != "f":
        return values.tolist()
    known = values.astype(object)
    known[np.isnan(values)] = None
    return known.tolist()
