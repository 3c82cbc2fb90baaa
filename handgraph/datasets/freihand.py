"""The keypoints of FreiHAND, and of whatever is written like them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from handgraph.datasets.keypoints import KeypointDataset, require_all
from handgraph.geometry import keybone_length
from handgraph.skeletons import HAND


class FreiHANDKeypoints(KeypointDataset):
    """Joints from the JSON files of FreiHAND: ``{split}_xyz.json``, ``_K.json``, ``_scale.json``.

    Zimmermann et al., *FreiHAND*, ICCV 2019: one list entry a record; the joints in the order of
    :data:`handgraph.skeletons.HAND`; the scale is the length of the middle finger's first bone, the
    keybone.
    Images are 224 pixels wide; the training images repeat the 32,560 records four times. Without a
    scale file the keybone is measured. Nothing is detected: ``uv`` is the projection of ``xyz``.

    Args:
        root: Folder of the files.
        split: How their names begin.
        transform: Called with each sample (a ``Data``) when it is taken out.

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``, as are those of
        :class:`handgraph.datasets.SyntheticHands`: ``uv`` and ``uv_true [21, 2]``, ``xyz [21, 3]``,
        ``K [1, 3, 3]``, ``d [21]``, ``s [1]``. The property ``tensors`` holds all, stacked.

    Units:
        Metres in the camera frame; pixels, (u, v) order; d in keybone lengths.

    Raises:
        FileNotFoundError: If the file of xyz or K is not there.
        ValueError: If a file is no list of records of the right shape, a number is not finite, a
            joint is not before the camera, a scale is off the keybone by more than a factor of 2,
            or the files differ in length. The message names the file and the record.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> hand = [[0.01 * i, 0.0, 0.5 + 0.01 * i] for i in range(21)]
        >>> camera = [[480, 0, 112], [0, 480, 112], [0, 0, 1]]
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name, record in {"xyz": hand, "K": camera}.items():
        ...         _ = Path(root, f"training_{name}.json").write_text(json.dumps([record]))
        ...     hands = FreiHANDKeypoints(root)
        >>> hands[0].uv[0].tolist()
        [112.0, 112.0]
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "training",
        *,
        transform: Callable[[Data], Any] | None = None,
    ) -> None:
        base = Path(root).expanduser() / split
        shapes = {"xyz": (HAND.num_joints, 3), "K": (3, 3)}
        tensors = {n: _read(Path(f"{base}_{n}.json"), shape) for n, shape in shapes.items()}
        scale = Path(f"{base}_scale.json")
        if scale.exists():
            tensors["s"] = _read(scale, ())
        for name, values in tensors.items():
            if len(values) != len(tensors["xyz"]):
                file = "scale" if name == "s" else name
                raise ValueError(
                    f"{base}_{file}.json: expected {len(tensors['xyz'])} records as in "
                    f"{base}_xyz.json, got {len(values)}"
                )
        if "s" in tensors:
            _check_scale(tensors["s"], tensors["xyz"], scale)
        super().__init__(tensors, HAND, transform=transform, source=f"{base}_*.json")


def _read(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read a list of records, each of this shape."""
    try:
        records = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path}: expected a list of records, got {_show(records)}")
    for i, record in enumerate(records):
        _check_record(record, shape, f"{path}: record {i}: expected numbers {list(shape)}")
    try:
        values = torch.from_numpy(np.array(records, dtype=np.float64))
    except OverflowError as error:
        raise ValueError(f"{path}: a number is too large: {error}") from error
    require_all(values.isfinite(), str(path), "not finite")
    return values


def _check_record(record: object, shape: tuple[int, ...], expected: str) -> None:
    """Raise unless ``record`` is lists of exactly this shape with numbers in them."""
    if not shape:
        if type(record) not in (int, float):
            raise ValueError(f"{expected}, got {_show(record)}")
        return
    if not isinstance(record, list) or len(record) != shape[0]:
        raise ValueError(f"{expected}, got {_show(record)}")
    for part in record:
        _check_record(part, shape[1:], expected)


def _show(value: object) -> str:
    """What something is, in a few words."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str | dict):
        return "text" if isinstance(value, str) else "an object"
    return repr(value)[:40]


def _check_scale(scale: Tensor, xyz: Tensor, path: Path) -> None:
    """Raise where scale and keybone differ by more than a factor of 2: other units."""
    length = keybone_length(xyz)
    fits = (scale >= length / 2) & (scale <= 2 * length)
    require_all(fits, str(path), "the scale is not the length of the keybone of xyz")
