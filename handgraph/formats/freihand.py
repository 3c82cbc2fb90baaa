"""Reader of FreiHAND's JSON files of 3D joints and cameras."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from handgraph._records import project_all, require_cameras
from handgraph.formats._json import entries, load, table
from handgraph.formats.keypoints import Keypoints, Side
from handgraph.skeletons import HAND

SIDE = 224.0
"""Width and height of all images."""


def read_freihand(root: str | PathLike[str], split: str = "training") -> Keypoints:
    """Read the hands of FreiHAND: ``{split}_xyz.json`` and ``{split}_K.json``.

    Source: Zimmermann et al., "FreiHAND", ICCV 2019, and its repository (``utils/fh_utils.py``).

    The joints are in the order of :data:`handgraph.HAND`, all hands are right hands, and no joint
    is missing. The files have no 2D joints: ``uv`` is the projection of ``xyz``. The joints of the
    split ``evaluation`` are in a separate archive. :class:`handgraph.datasets.FreiHANDKeypoints`
    provides the same hands as a dataset.

    Args:
        root: Folder that contains the files.
        split: Prefix of the file names: ``training`` or ``evaluation``.

    Shapes:
        The files have xyz ``[n][21][3]`` and K ``[n][3][3]``. See :class:`Keypoints` for the
        result, which has no ``score``.

    Units:
        The files are in metres, in the camera frame, and in pixels.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not JSON, a record is wrong, a joint is not in front of the camera,
            or the files differ in length. The message names the file and the record.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from handgraph.formats import read_freihand
        >>> hand = [[0.01 * i, 0.0, 0.5] for i in range(21)]
        >>> camera = [[480, 0, 112], [0, 480, 112], [0, 0, 1]]
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name, record in {"xyz": hand, "K": camera}.items():
        ...         _ = Path(root, f"training_{name}.json").write_text(json.dumps([record]))
        ...     hands = read_freihand(root)
        >>> hands.side, hands.name, hands.uv[0, 5].round().tolist()
        (('right',), ('training/rgb/00000000.jpg',), [160.0, 112.0])
    """
    base = Path(root).expanduser() / split
    xyz = read_records(Path(f"{base}_xyz.json"), HAND.num_joints)
    K = read_records(Path(f"{base}_K.json"), 3)
    check_length(K, f"{base}_K.json", xyz)
    require_cameras(K, f"{base}_K.json")
    uv = project_all(xyz, K, f"{base}_xyz.json")
    sides: list[Side] = ["right"] * len(uv)
    return Keypoints(
        uv,
        side=tuple(sides),
        image_size=uv.new_full((len(uv), 2), SIDE),
        name=tuple(f"{split}/rgb/{i:08d}.jpg" for i in range(len(uv))),
        xyz=xyz,
        K=K,
    )


def read_records(path: Path, rows: int) -> Tensor:
    """Read a list of records with ``rows`` rows of 3 numbers each, Float32 ``[n, rows, 3]``."""
    content, name = load(path, "")
    records = entries(content, name)
    if not records:
        raise ValueError(f"{name}: expected at least one record, got an empty list")
    found = [table(row, rows, 3, f"{name}: record {i}") for i, row in enumerate(records)]
    return torch.stack(found).to(torch.float32)


def check_length(values: Tensor, name: str, xyz: Tensor) -> None:
    """Raise unless a file has as many records as the file of xyz."""
    if len(values) != len(xyz):
        raise ValueError(f"{name}: expected {len(xyz)} records as of xyz, got {len(values)}")
