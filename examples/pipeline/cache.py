"""Memory-mapped cache of images, and of the output of a frozen generator.

Features and heatmaps are stored as float16, which changes them by up to 0.05 %. Images, 2D joints
and labels are not changed. A folder belongs to a set of hands and the weights of a generator, or
none. Runs with the same hands and weights may share the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn
from torch_geometric.data import Dataset
from tqdm import tqdm

from pipeline.hands import batches, chunks, to
from pipeline.settings import Settings
from psjnet import PoseNet
from shared.files import written
from shared.lifters import Hands

HALF = ("features", "heatmaps")
FOUND = ("uv", *HALF)
LABELS = ("uv_true", "d", "visible", "xyz", "K", "s")
BATCH = 64
VERSION = 2  # of the cache: raise it if the same images give another result


def cache_folder(root: Path, settings: Settings, generator: nn.Module | None) -> Path:
    """Return the folder of these hands and these weights."""
    hands = VERSION, settings.data, settings.root, settings.samples, settings.image_size
    digest = hashlib.sha256(repr(hands).encode())
    state = {} if generator is None else generator.state_dict()
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return root / digest.hexdigest()[:16]


@torch.no_grad()
def detect(model: PoseNet, hands: Hands, names: Iterable[str]) -> Hands:
    """Return the entries of a batch that are cached."""
    if not set(names).isdisjoint(FOUND):
        hands = hands | model.detect(hands["image"])._asdict()
    return {name: hands[name].half() if name in HALF else hands[name] for name in names}


def fill(
    folder: Path,
    model: PoseNet,
    hands: Dataset,
    names: Iterable[str],
    device: torch.device,
    workers: int,
    limit: float,
) -> None:
    """Compute the missing arrays; each file is renamed when it is complete.

    Raises:
        ValueError: If they need more than ``limit`` GB or more than the free space of the disk.
    """
    missing = [name for name in names if not (folder / f"{name}.npy").exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    index, arrays = chunks(len(hands), BATCH), {}
    first = detect(model, next(batches(hands, index[:1], device)), missing)
    check_size(folder, first, len(hands), limit)
    with ExitStack() as stack:
        for name, value in to(first, torch.device("cpu")).items():
            part = stack.enter_context(written(folder / f"{name}.npy", f".{os.getpid()}"))
            shape, dtype = (len(hands), *value.shape[1:]), value.numpy().dtype
            arrays[name] = open_memmap(part, mode="w+", dtype=dtype, shape=shape)
        source = batches(hands, index, device, workers)
        for some, batch in zip(tqdm(index, desc="caching"), source, strict=True):
            for name, value in detect(model, batch, missing).items():
                arrays[name][some] = value.cpu().numpy()
        for array in arrays.values():
            array.flush()


def check_size(folder: Path, first: Hands, number: int, limit: float) -> None:
    """Print the size of the cache, and raise if it is too large."""
    each = sum(value[0].numel() * value.element_size() for value in first.values())
    need, free = each * number / 1e9, shutil.disk_usage(folder).free / 1e9
    print(f"cache: {need:.2f} GB in {folder} ({each / 1e3:.0f} kB a hand: {', '.join(first)})")
    if need > min(limit, free - 1):
        raise ValueError(
            f"the cache needs {need:.1f} GB: the limit is {limit:.1f}, the disk has {free:.1f}; "
            "raise --cache-limit, or go without --cache: the generator then runs in every step"
        )


def cached(
    folder: Path, names: Iterable[str], index: Iterable[list[int]], device: torch.device
) -> Iterator[Hands]:
    """Yield the hands of each batch, in single precision."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    for some in index:
        hands = to({name: torch.from_numpy(array[some]) for name, array in arrays.items()}, device)
        yield hands | {name: hands[name].float() for name in HALF if name in hands}
