"""Memory-mapped cache of images, and of the output of a frozen generator.

Features and heatmaps are stored as float16, which changes them by up to 0.05 %. Images, 2D joints
and labels are not changed. Each folder is for one set of hands, and for the weights of one
generator if it has outputs. Runs with the same hands and weights share it.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn
from tqdm import tqdm

from pipeline.hands import chunks, to
from pipeline.settings import Settings
from psjnet import PoseNet
from shared.lifters import Hands

Names = Iterable[str]
Load = Callable[[list[list[int]]], Iterator[Hands]]
"""Loads batches of hands, given their indices."""

HALF = ("features", "heatmaps")
FOUND = ("uv", *HALF)
LABELS = ("uv_true", "d", "visible", "xyz", "K", "s")
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
def detect(model: PoseNet, hands: Hands, names: Names) -> Hands:
    """Return the entries of a batch that are cached, on the CPU."""
    if not set(names).isdisjoint(FOUND):
        hands = hands | model.detect(hands["image"])._asdict()
    return {name: (hands[name].half() if name in HALF else hands[name]).cpu() for name in names}


def fill(folder: Path, model: PoseNet, load: Load, number: int, names: Names, limit: float) -> None:
    """Compute the missing arrays of all hands; files are renamed when they are complete."""
    missing = [name for name in names if not (folder / f"{name}.npy").exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    index, arrays = chunks(range(number), 64), {}
    for some, hands in zip(tqdm(index, "caching"), load(index), strict=True):
        found = detect(model, hands, missing)
        arrays = arrays or new_arrays(folder, found, number, limit)
        for name, value in found.items():
            arrays[name][some] = value.numpy()
    for name, array in arrays.items():
        array.flush()
        Path(array.filename).replace(folder / f"{name}.npy")


def new_arrays(folder: Path, first: Hands, number: int, limit: float) -> dict[str, np.memmap]:
    """Create arrays for the entries of a batch, and print their size.

    Raises:
        ValueError: If they need more than ``limit`` GB or more than the free space of the disk.
    """
    each = sum(value[0].nbytes for value in first.values())
    need, free = each * number / 1e9, shutil.disk_usage(folder).free / 1e9
    print(f"cache: {need:.2f} GB in {folder} ({each / 1e3:.0f} kB a hand: {', '.join(first)})")
    if need > min(limit, free - 1):
        raise ValueError(
            f"the cache needs {need:.1f} GB: the limit is {limit:.1f}, the disk has {free:.1f}; "
            "raise --cache-limit, or go without --cache, which runs the generator in every step"
        )
    kinds = {name: (value.numpy().dtype, value.shape[1:]) for name, value in first.items()}
    return {
        name: open_memmap(folder / f"{name}.npy.{os.getpid()}", "w+", dtype, (number, *shape))
        for name, (dtype, shape) in kinds.items()
    }


def read_cache(
    folder: Path, names: Names, index: list[list[int]], device: torch.device
) -> Iterator[Hands]:
    """Yield the hands of each batch, in single precision."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    for some in index:
        hands = to({name: torch.from_numpy(array[some]) for name, array in arrays.items()}, device)
        yield hands | {name: hands[name].float() for name in HALF if name in hands}
