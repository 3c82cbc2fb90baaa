"""Keypoints from a NumPy archive with a known joint order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from handgraph.datasets.entries import CHANNELS, MASKS, as_tensor
from handgraph.datasets.keypoints import KeypointDataset
from handgraph.skeleton import Skeleton
from handgraph.skeletons import COCO, H36M, HAND, INTERHAND, MANO, RHD

_KNOWN = {skeleton.name: skeleton for skeleton in (COCO, H36M, HAND, INTERHAND, MANO, RHD)}

MAX_BYTES = 4 * 2**30
"""Largest total size of a file's arrays; a few kilobytes of zeros can expand to terabytes."""


class NpzKeypoints(KeypointDataset):
    """Keypoints from an ``.npz`` file, reordered to the joints of a skeleton.

    The file holds ``uv`` or ``xyz``, and optionally ``K``, ``visible``, ``found``, ``confidence``,
    ``cue`` and ``s``. Other arrays must be named in ``extra``. The file's joint order must be given
    in exactly one way: by an array ``joints`` of joint names, by an array ``skeleton`` with the
    name of one of handgraph's skeletons, or by the argument ``order``. Joints that the skeleton
    lacks are left out. Nothing in the file is unpickled or executed.

    Args:
        path: The file.
        skeleton: Skeleton whose joint order the samples have.
        order: Skeleton whose joint order the file has, if the file does not state it.
        extra: Names of further arrays of the samples, strings ``[n]`` or numbers ``[n, ...]``,
            such as image names and subject numbers.
        transform: Function applied to each sample (a ``Data``) on access.

    Shapes:
        The file has, with J joints, uv ``[n, J, 2]``, xyz ``[n, J, 3]``, K ``[n, 3, 3]`` or
        ``[3, 3]``, visible and found Bool ``[n, J]``, confidence and cue ``[n, J, 1]`` or
        ``[n, J]``, s ``[n]``. Samples are those of :class:`KeypointDataset`.

    Units:
        uv and K in pixels, (u, v) order; xyz and s in metres, camera frame (with ``K``) or any
        other; cue in keybone lengths.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If an array is not numeric, a mask is not bool, or ``extra`` is a string.
        ValueError: If the file cannot be read, an array is unknown or has the wrong shape, the
            joint order is missing or given twice, a name is unknown, a joint of the skeleton is
            missing, or a number is not finite. The message names file and record.

    Example:
        >>> import tempfile
        >>> from handgraph import RHD
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "hands.npz")
        ...     np.savez(path, joints=RHD.joints, uv=np.arange(42.0).reshape(1, 21, 2))
        ...     hands = NpzKeypoints(path)
        >>> hands[0].uv[HAND.index("thumb_tip")].tolist()  # the second joint of RHD
        [2.0, 3.0]
    """

    def __init__(
        self,
        path: str | Path,
        skeleton: Skeleton = HAND,
        *,
        order: Skeleton | None = None,
        extra: Sequence[str] = (),
        transform: Callable[[Data], Any] | None = None,
    ) -> None:
        if isinstance(extra, str):
            raise TypeError(f"{path}: expected extra to be a list of names, got {extra!r}")
        path = Path(path).expanduser()
        arrays = read_archive(path)
        joints = _order(arrays, order, skeleton, path)
        try:
            index = skeleton.index_from(joints)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        others = {name: _pop(arrays, name, path) for name in extra}
        tensors = {name: as_tensor(values, name, str(path)) for name, values in arrays.items()}
        _spread_camera(tensors)
        for name in (*CHANNELS, *MASKS):
            if name in tensors:
                tensors[name] = _take(tensors[name], index, joints, f"{path}: {name}")
        super().__init__(tensors, skeleton, extra=others, transform=transform, source=str(path))


def read_archive(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays; raise a ``ValueError`` for a damaged file."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not an .npz file of plain arrays: it is not a regular file")
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array")
            size = sum(entry.file_size for entry in archive.zip.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"its arrays take {size / 1e9:.1f} GB")
            return dict(archive)
        except Exception as error:  # zip, zlib and numpy raise many types on damaged files
            raise ValueError(f"{path}: not an .npz file of plain arrays: {error}") from error


def _order(
    arrays: dict[str, NDArray[Any]], order: Skeleton | None, skeleton: Skeleton, path: Path
) -> Skeleton:
    """Return the joint order from the file or from the argument."""
    sources = [name for name in ("joints", "skeleton") if name in arrays]
    if len(sources) + (order is not None) != 1:
        raise ValueError(
            f"{path}: expected one of joints in the file, skeleton in the file, and the argument "
            f"order, got {', '.join(sources + ['order'] * (order is not None)) or 'none'}"
        )
    if order is not None:
        return order
    names = _text(arrays.pop(sources[0]), sources == ["joints"], f"{path}: {sources[0]}")
    if isinstance(names, str):
        if names not in _KNOWN:
            raise ValueError(f"{path}: unknown skeleton {names!r}; known: {', '.join(_KNOWN)}")
        return _KNOWN[names]
    try:
        return Skeleton("the file", [skeleton.aliases.get(name, name) for name in names], ())
    except ValueError as error:
        raise ValueError(f"{path}: joints: {error}") from error


def _text(values: NDArray[Any], several: bool, what: str) -> list[str] | str:
    """Return the text of an array: a list of names, or one name."""
    if values.dtype.kind != "U" or values.ndim != int(several):
        kind = "a list of names" if several else "a name"
        raise ValueError(f"{what}: expected {kind}, got {values.dtype} of {list(values.shape)}")
    try:
        text: list[str] | str = values.tolist()
    except (ValueError, SystemError) as error:  # code points that are not characters
        raise ValueError(f"{what}: not text: {error}") from error
    return text


def _pop(arrays: dict[str, NDArray[Any]], name: str, path: Path) -> NDArray[Any]:
    """Remove an extra array from ``arrays`` and return it."""
    if name not in arrays:
        raise ValueError(f"{path}: expected an array {name}, got {', '.join(arrays)}")
    return arrays.pop(name)


def _spread_camera(tensors: dict[str, Tensor]) -> None:
    """Repeat a camera that all records share."""
    if "K" in tensors and tensors["K"].ndim == 2:
        others = [len(values) for name, values in tensors.items() if name != "K"]
        tensors["K"] = tensors["K"].expand(others[0] if others else 1, -1, -1)


def _take(values: Tensor, index: Tensor, joints: Skeleton, what: str) -> Tensor:
    """Reorder the joints."""
    if values.ndim < 2 or values.shape[1] != joints.num_joints:
        raise ValueError(
            f"{what}: expected the {joints.num_joints} joints of the file's order, "
            f"got shape {list(values.shape)}"
        )
    return values[:, index]
