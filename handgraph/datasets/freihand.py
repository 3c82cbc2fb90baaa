"""Keypoints of FreiHAND, or of files in the same format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from handgraph._records import require_all
from handgraph.datasets.keypoints import KeypointDataset
from handgraph.formats._json import entries, load, number
from handgraph.formats.freihand import check_length, read_freihand
from handgraph.geometry import keybone_length
from handgraph.skeletons import HAND


class FreiHANDKeypoints(KeypointDataset):
    """Joints from the JSON files of FreiHAND: ``{split}_xyz.json``, ``_K.json``, ``_scale.json``.

    The format is that of Zimmermann et al., *FreiHAND*, ICCV 2019. Each list entry is a record,
    with joints in the order of :data:`handgraph.skeletons.HAND`. The scale is the length of the
    keybone, the first bone of the middle finger. It is measured if the scale file is missing.
    Images are 224 pixels wide, and the training images repeat the 32,560 records four times.
    FreiHAND has no detections: ``uv`` is the projection of ``xyz``.

    Args:
        root: Folder that contains the files.
        split: Prefix of the file names.
        transform: Function applied to each sample (a ``Data``) on access.

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``, as are those of
        :class:`handgraph.datasets.SyntheticHands`: ``uv`` and ``uv_true [21, 2]``, ``xyz [21, 3]``,
        ``K [1, 3, 3]``, ``d [21]``, ``s [1]``. The property ``tensors`` stacks all samples.

    Units:
        xyz and s in metres, camera frame; uv and K in pixels, (u, v) order; d in keybone lengths.

    Raises:
        FileNotFoundError: If the file of xyz or K does not exist.
        ValueError: If a file is not a list of records of the right shape, a number is not finite, a
            joint is not in front of the camera, a scale differs from the keybone by more than a
            factor of 2, or the files differ in length. The message names the file and the record.

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
        hands = read_freihand(root, split)
        base = Path(root).expanduser() / split
        tensors: dict[str, Any] = {"xyz": hands.xyz, "K": hands.K}
        scale = Path(f"{base}_scale.json")
        if scale.exists():
            tensors["s"] = _read_scale(scale, tensors["xyz"])
        super().__init__(tensors, HAND, transform=transform, source=f"{base}_*.json")


def _read_scale(path: Path, xyz: Tensor) -> Tensor:
    """Read keybone lengths; raise if one differs from ``xyz`` by more than a factor of 2."""
    content, name = load(path, "")
    records = entries(content, name)
    scale = xyz.new_tensor([number(x, f"{name}: record {i}") for i, x in enumerate(records)])
    check_length(scale, name, xyz)
    length = keybone_length(xyz)
    fits = (scale >= length / 2) & (scale <= 2 * length)
    require_all(fits, name, "the scale is not the length of the keybone of xyz")
    return scale
