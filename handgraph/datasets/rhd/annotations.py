"""Annotations of a split of RHD as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handgraph.datasets.rhd.layout import LEFT_ROWS, RIGHT_ROWS
from handgraph.datasets.rhd.unpickle import unpickle_arrays

SHAPES = {"uv_vis": (RIGHT_ROWS.stop, 3), "xyz": (RIGHT_ROWS.stop, 3), "K": (3, 3)}
"""Shape of each array of a sample."""


Records = dict[int, dict[str, NDArray[Any]]]
"""Annotations by sample number, as in the file."""


class Hands(NamedTuple):
    """One hand of each sample, with joint order and units of the file.

    Shapes:
        sample: ``[n]``; uv_vis, xyz: ``[n, 21, 3]``; K: ``[n, 3, 3]``.
    """

    sample: NDArray[np.int64]
    uv_vis: NDArray[np.float32]
    xyz: NDArray[np.float32]
    K: NDArray[np.float32]


def parse_annotations(path: Path, content: bytes) -> Records:
    """Read ``{sample: {"uv_vis": (42, 3), "xyz": (42, 3), "K": (3, 3)}}`` from a pickle.

    Args:
        path: The file, for error messages.
        content: Content of the file.

    Returns:
        The annotations, sorted by sample number.

    Raises:
        ValueError: If the content is not a pickle of plain arrays, or a sample is invalid.
    """
    records = unpickle_arrays(path, content)
    if not isinstance(records, dict) or not records:
        raise ValueError(f"{path}: expected a dict of samples, got {_show(records)}")
    for sample, record in records.items():
        if type(sample) is not int or not 0 <= sample < 2**31:
            raise ValueError(f"{path}: a sample without a number: its key is {_show(sample)}")
        _check(record, f"{path}: sample {sample}")
    return {sample: records[sample] for sample in sorted(records)}


def select_hands(records: Records, left: NDArray[np.bool_], path: Path) -> Hands:
    """Select one hand of each sample, and check numbers, cameras and visibility flags.

    Shapes:
        left: ``[n]``, whether to select the left hand.
    """
    rows = [LEFT_ROWS if is_left else RIGHT_ROWS for is_left in left]
    hands = Hands(
        np.array(list(records), dtype=np.int64),
        _stack([record["uv_vis"][row] for record, row in zip(records.values(), rows, strict=True)]),
        _stack([record["xyz"][row] for record, row in zip(records.values(), rows, strict=True)]),
        _stack([record["K"] for record in records.values()]),
    )
    flags = hands.uv_vis[..., 2]
    problems = {
        "uv_vis is not finite": ~np.isfinite(hands.uv_vis),
        "xyz is not finite": ~np.isfinite(hands.xyz),
        "K is not finite": ~np.isfinite(hands.K),
        "K is not a camera matrix": ~_is_camera(hands.K),
        "a visibility is not 0 or 1": (flags != 0) & (flags != 1),
    }
    for problem, found in problems.items():
        bad = found.reshape(len(left), -1).any(axis=1)
        if bad.any():
            raise ValueError(f"{path}: sample {hands.sample[bad.argmax()]}: {problem}")
    return hands


def _check(record: object, where: str) -> None:
    """Raise unless a record contains the three arrays in their shapes."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a dict of arrays, got {_show(record)}")
    for name, shape in SHAPES.items():
        values = record.get(name)
        if not isinstance(values, np.ndarray):
            raise ValueError(f"{where}: expected {name} to be an array, got {_show(values)}")
        if values.dtype.kind not in "iuf" or values.shape != shape:
            raise ValueError(
                f"{where}: expected {name} to be numbers {list(shape)}, "
                f"got {values.dtype} of {list(values.shape)}"
            )


def _stack(values: list[NDArray[Any]]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # infinite values are found later
        return np.stack([value.astype(np.float32) for value in values])


def _is_camera(K: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether matrices are upper triangular, with positive focal lengths and a last 1."""
    lower = (K[:, 2] == (0, 0, 1)).all(axis=-1) & (K[:, 1, 0] == 0)
    good: NDArray[np.bool_] = lower & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    return good


def _show(value: object) -> str:
    """Return the type of a value for error messages."""
    return "nothing" if value is None else f"a {type(value).__name__}"
