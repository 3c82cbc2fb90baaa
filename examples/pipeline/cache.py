"""Images, and what a frozen generator finds in them, made once and kept on disk, memory-mapped.

Features and heatmaps are kept as float16, which changes them by up to 0.05 %; images, 2D joints and
labels as they are. A folder belongs to a set of hands and the weights of a generator, or none: runs
that share these may share the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from torch_geometric.data import Dataset
from tqdm import tqdm

from pipeline.hands import batches
from pipeline.settings import Settings
from pipeline.targets import Hands
from psjnet import PoseNet

HALF = ("features", "heatmaps")
FOUND = ("uv", "features", "heatmaps")
LABELS = ("uv_true", "d", "visible", "xyz", "K", "s")
BATCH = 64
VERSION = 2  # of what is found: raise it when the same images give another result


class Cache(NamedTuple):
    """Arrays over all hands, by name; the first axis is the hand."""

    arrays: dict[str, np.ndarray]

    def batches(self, index: Iterator[list[int]], device: torch.device) -> Iterator[Hands]:
        """Take out the hands of each batch, in single precision."""
        for some in index:
            taken = {name: torch.from_numpy(array[some]) for name, array in self.arrays.items()}
            yield {name: _single(value.to(device)) for name, value in taken.items()}


def _single(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.float16 else value


def cache_folder(root: Path, settings: Settings, generator: nn.Module | None) -> Path:
    """The folder of these hands, and of these weights."""
    hands = VERSION, settings.data, settings.root, settings.samples, settings.image_size
    digest = hashlib.sha256(repr(hands).encode())
    state = {} if generator is None else generator.state_dict()
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return root / digest.hexdigest()[:16]


@torch.no_grad()
def detect(model: PoseNet, hands: Hands, names: tuple[str, ...]) -> Hands:
    """Everything that a cache holds of a batch."""
    everything = dict(hands)
    if set(names) & set(FOUND):
        everything |= model.detect(hands["image"])._asdict()
    return {name: everything[name].half() if name in HALF else everything[name] for name in names}


def fill(
    folder: Path,
    model: PoseNet,
    hands: Dataset,
    names: tuple[str, ...],
    device: torch.device,
    workers: int,
    limit: float,
) -> None:
    """Compute the arrays that are not there yet; each gets its name when it is whole.

    Raises:
        ValueError: If they need more than ``limit`` GB, or than the disk has.
    """
    missing = tuple(name for name in names if not (folder / f"{name}.npy").exists())
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    number = len(hands)
    starts = range(0, number, BATCH)
    index = [list(range(i, min(i + BATCH, number))) for i in starts]
    first = detect(model, next(batches(hands, index[:1], device)), missing)
    check_size(folder, first, number, limit)
    parts = {name: folder / f"{name}.npy.part{os.getpid()}" for name in missing}
    arrays = {name: _create(parts[name], first[name], number) for name in missing}
    bar = tqdm(zip(index, batches(hands, index, device, workers), strict=True), total=len(index))
    bar.set_description("caching")
    for some, batch in bar:
        for name, value in detect(model, batch, missing).items():
            arrays[name][some] = value.cpu().numpy()
    for name, array in arrays.items():
        array.flush()
        _sum_path(folder, name).write_text(_checksum(parts[name]), encoding="ascii")
        os.replace(parts[name], folder / f"{name}.npy")


def check_size(folder: Path, first: Hands, number: int, limit: float) -> None:
    """Say how much disk the cache takes, and raise if it is too much."""
    each = sum(value[0].numel() * value.element_size() for value in first.values())
    need, free = each * number / 1e9, shutil.disk_usage(folder).free / 1e9
    print(f"cache: {need:.2f} GB in {folder} ({each / 1e3:.0f} kB a hand: {', '.join(first)})")
    if need > min(limit, free - 1):
        raise ValueError(
            f"the cache needs {need:.1f} GB: the limit is {limit:.1f}, the disk has {free:.1f}; "
            "raise --cache-limit, or go without --cache: the generator then runs in every step"
        )


def open_cache(folder: Path, names: tuple[str, ...]) -> Cache:
    """Map the arrays into memory.

    Raises:
        ValueError: If a file is not what was written.
    """
    for name in names:
        path, kept = folder / f"{name}.npy", _sum_path(folder, name)
        if not kept.exists() or kept.read_text(encoding="ascii") != _checksum(path):
            raise ValueError(f"{path} is damaged: remove it, and it is made again")
    return Cache({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})


def _sum_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.crc"


def _checksum(path: Path) -> str:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(2**24):
            found = zlib.crc32(chunk, found)
    return f"{found:08x}"


def _create(path: Path, like: Tensor, number: int) -> np.ndarray:
    dtype = like.cpu().numpy().dtype
    return open_memmap(path, mode="w+", dtype=dtype, shape=(number, *like.shape[1:]))
