"""A PyG dataset of hands from tensors or arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

from handgraph._check import check_skeleton
from handgraph.datasets.entries import Values, check_entries, derive_entries
from handgraph.datasets.extra import Extra, check_extra, pick, take
from handgraph.datasets.features import WithFeatures
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND


class KeypointDataset(WithFeatures, InMemoryDataset):
    """Hands from tensors or arrays, in the form of :class:`handgraph.datasets.SyntheticHands`.

    Entries that can be derived are added. ``uv_true`` is the projection of ``xyz`` if ``K`` is
    given, and the default of ``uv``. ``d`` and ``s`` are relative depth and keybone length (Eq. 1),
    if the skeleton has a root and the paper's keybone. ``found`` is added if a joint is missing.
    Each sample is a copy, so transforms may change it in place.

    Args:
        tensors: Entries of all samples, tensors or NumPy arrays: ``uv`` or ``xyz``, and optionally
            ``K``, ``visible``, ``found``, ``confidence``, ``cue`` and ``s``. A joint is missing
            where ``found`` is False or, without ``found``, where ``uv`` is NaN. For missing joints,
            uv and cue are set to NaN and confidence to 0.
        skeleton: Skeleton that defines the order of the joints.
        extra: Further entries of samples, by name: a list of n strings (file names), or a tensor or
            array ``[n, ...]`` (subject numbers, labels).
        transform: Function applied to each sample (a ``Data``) on access.
        source: Name of the data in error messages.

    Shapes:
        uv ``[n, J, 2]``, xyz ``[n, J, 3]``, K ``[n, 3, 3]``, visible and found Bool ``[n, J]``,
        confidence and cue ``[n, J, 1]`` or ``[n, J]``, s ``[n]``. In a sample K is ``[1, 3, 3]``, s
        ``[1]`` and an extra tensor ``[1, ...]``. All but the masks and extra entries become
        float32. With uv, a sample also has node features ``x [J, 2 or 3]``: uv and confidence,
        concatenated after the transform.

    Units:
        uv and K in pixels, (u, v) order; xyz and s in metres, camera frame (with ``K``) or any
        other; cue and d in keybone lengths.

    Raises:
        TypeError: If an entry is not a tensor or array of numbers, a mask is not bool, or an extra
            entry is neither strings nor numbers.
        ValueError: If an entry is unknown or has the wrong shape, ``uv`` and ``xyz`` are both
            absent, a number is not finite, a confidence is not in [0, 1], a joint is not in front
            of the camera, a K is not a camera matrix, the joints of a keybone coincide, or an extra
            entry has the wrong length or a name that PyG reserves. The message names the source and
            the first invalid record.

    Example:
        >>> hands = KeypointDataset({"xyz": torch.rand(5, 21, 3)}, extra={"name": list("abcde")})
        >>> hands[2]
        Data(edge_index=[2, 40], xyz=[21, 3], s=[1], d=[21], name='c', num_nodes=21)
        >>> hands.tensors["d"].shape, hands[3:].extra
        (torch.Size([5, 21]), {'name': ['d', 'e']})
    """

    def __init__(
        self,
        tensors: Mapping[str, Values],
        skeleton: Skeleton = HAND,
        *,
        extra: Mapping[str, Values | Sequence[str]] | None = None,
        transform: Callable[[Data], Any] | None = None,
        source: str = "KeypointDataset",
    ) -> None:
        super().__init__(None, transform)
        check_skeleton(skeleton, "KeypointDataset")
        self.skeleton = skeleton
        entries = check_entries(tensors, skeleton, source)
        derive_entries(entries, skeleton, source)
        num_samples = len(next(iter(entries.values())))
        others = check_extra(extra or {}, num_samples, source)
        with torch.device("cpu"):  # for all indices, independent of the default device
            edge_index, num_nodes = skeleton.edge_index, skeleton.num_joints
            self.data, self.slices = self.collate(
                [
                    Data(edge_index=edge_index, num_nodes=num_nodes, **_sample(entries, others, i))
                    for i in range(num_samples)
                ]
            )
        self._shapes = {name: values.shape[1:] for name, values in entries.items()}
        self._extra = tuple(others)

    def get(self, idx: int) -> Data:
        """Return a copy of one sample, so that transforms may change it in place."""
        return cast("Data", super().get(idx).clone())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Entries of all samples, stacked; a slice of the dataset stacks its own samples."""
        data: Any = self._data
        stacked = {name: data[name].reshape(-1, *shape) for name, shape in self._shapes.items()}
        if self._indices is None:
            return stacked
        index = torch.tensor(list(self._indices), dtype=torch.long, device="cpu")
        return {name: values[index] for name, values in stacked.items()}

    @property
    def extra(self) -> dict[str, Extra]:
        """Extra entries of all samples, or of the samples of a slice."""
        data: Any = self._data
        index = None if self._indices is None else list(self._indices)
        return {name: pick(data[name], index) for name in self._extra}


def _sample(entries: dict[str, Tensor], others: dict[str, Extra], i: int) -> dict[str, Any]:
    """Return the entries of one sample; K and s keep a first dimension for batching."""
    sample = {
        name: values[i : i + 1] if name in ("K", "s") else values[i]
        for name, values in entries.items()
    }
    return sample | {name: take(values, i) for name, values in others.items()}
