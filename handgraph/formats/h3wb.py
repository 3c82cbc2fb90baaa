"""Reader of H3WB's JSON files of 133 whole-body joints in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handgraph.formats._json import field, hide, load, number, record
from handgraph.formats._names import WHOLE_BODY
from handgraph.formats.keypoints import Hand, Keypoints, Side, stack


def read_h3wb(source: str | PathLike[str] | dict[str, Any]) -> Keypoints:
    """Read the hands of H3WB (Human3.6M WholeBody): ``2Dto3D_*.json`` and ``I2Dto3D_*.json``.

    Source: Zhu et al., "H3WB", ICCV 2023, and its repository (``README.md``, ``utils/utils.py``,
    and issues 5, 16 and 29).

    Each sample gives a left and a right hand, joints 91 to 111 and 112 to 132 of COCO-WholeBody,
    in the order of :data:`handgraph.HAND`. A joint at (0, 0) is masked and thus missing. The files
    have no confidences, image sizes or cameras. ``RGBto3D_*.json`` has no 2D joints; use
    ``2Dto3D_train.json``, which has the same samples in the same order.

    ``xyz`` has the axes of the camera, but the origin of Human3.6M's world frame. Differences
    between joints are those of the camera frame, but ``xyz`` does not project to ``uv``.

    Args:
        source: The file or its content.

    Shapes:
        Each sample of the file has ``keypoints_2d``, an object of 133 joints with x and y, and
        optionally ``keypoints_3d``, with x, y and z. See :class:`Keypoints` for the result.

    Units:
        The file is in pixels and millimetres.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not JSON, or a field is missing or wrong. The message names the
            sample, the field and the joint.

    Example:
        >>> from handgraph.formats import read_h3wb
        >>> joints = {str(j): {"x": 5.0 * j, "y": 300, "z": 10 * j} for j in range(133)}
        >>> hands = read_h3wb({"0": {"keypoints_2d": joints, "keypoints_3d": joints}})
        >>> hands.side, hands.uv[:, 0].tolist(), round(hands.xyz[0, 0, 2].item(), 3)
        (('left', 'right'), [[455.0, 300.0], [560.0, 300.0]], 0.91)
    """
    content, name = load(source, "H3WB")
    hands = []
    for sample, value in record(content, name).items():
        where = f"{name}: sample {sample}"
        if "keypoints_2d" not in record(value, where) and "keypoints_3d" in value:
            raise ValueError(f"{where}: no keypoints_2d: 2Dto3D_*.json has those of all samples")
        title = str(value.get("image_path", f"{Path(name).stem} {sample}"))
        for side, index in WHOLE_BODY.hands.items():
            hands.append(_hand(value, where, side, index, title))
    return stack(hands, name)


def _hand(
    sample: dict[str, Any], where: str, side: Side | None, index: list[int], name: str
) -> Hand:
    uv = _points(sample, "keypoints_2d", "xy", index, where)
    xyz = None
    if "keypoints_3d" in sample:
        xyz = _points(sample, "keypoints_3d", "xyz", index, where) / 1000
    return Hand(hide(uv, (uv != 0).any(dim=-1)), None, None, side, None, name, xyz)


def _points(
    sample: dict[str, Any], key: str, axes: str, index: Sequence[int], where: str
) -> Tensor:
    """Return joints of a sample, Float64 ``[J, len(axes)]``."""
    joints, what = field(sample, key, where), f"{where}: {key}"
    found = [(field(joints, str(j), what), f"{what}: joint {j}") for j in index]
    numbers = [[number(field(joint, x, w), f"{w}: {x}") for x in axes] for joint, w in found]
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")
