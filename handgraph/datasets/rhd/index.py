"""Choice of a hand for each sample of RHD, and of the usable samples."""

from __future__ import annotations

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from handgraph.datasets.cache import read_tensors, write_tensors
from handgraph.datasets.rhd.annotations import Records, parse_annotations, select_hands
from handgraph.datasets.rhd.layout import (
    FOLDERS,
    annotation_file,
    file_name,
    hand_pixels,
    image_file,
)
from handgraph.datasets.rhd.png import read_png
from handgraph.geometry import keybone_length, project
from handgraph.geometry.crop import in_frame
from handgraph.geometry.depth import root_index
from handgraph.skeletons import HAND, RHD

_VERSION = 1  # of the index; increment if the same files give another index

MIN_SIDE, MAX_SIDES = 8.0, 4.0  # joints' bounding box: pixels, image sides
KEYBONE_RANGE, REACH = (0.005, 0.1), 1.0  # metres: keybone, distance of joints from the wrist
TOLERANCE, RELATIVE = 1.0, 0.002  # uv to projected xyz: pixels, fraction of the distance

REASONS = (
    "a joint is not in front of the camera",
    "xyz does not project to uv",
    "the hand has not the size of a hand: xyz is in metres",
    "the hand lies outside of the image",
    "no joint is visible",
    "the hand is smaller than 8 pixels",
    "the hand is larger than 4 images",
)
"""Reasons to skip a sample. If several apply, the first one is reported."""


def load_index(folder: Path, cache: Path, progress: bool) -> dict[str, Tensor]:
    """Read the index of a split from the cache, or compute it and write it to the cache.

    The cache key is the content of the annotations and the modification time of the folder of masks
    (files added or removed).

    Args:
        folder: Folder of the split.
        cache: Folder of the cache. A folder that cannot be written to gives a warning.
        progress: Whether to show a progress bar (in a terminal only).

    Shapes:
        output: ``sample [n]``, ``uv [n, 21, 2]``, ``xyz [n, 21, 3]``, ``K [n, 3, 3]``, ``visible``
        Bool ``[n, 21]``, ``left`` Bool ``[n]`` of the usable samples, in the order of ``HAND``;
        ``shape [2]``, height and width of all images; ``skipped [m, 2]``, sample and reason.
    """
    file = annotation_file(folder)
    content = file.read_bytes()
    changed = (folder / "mask").stat().st_mtime_ns
    key = f"version={_VERSION} {hashlib.sha256(content).hexdigest()} {changed}"
    path = cache / f"rhd_{folder.name}_{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"
    index = read_tensors(path, key) if path.exists() else None
    if index is None:
        if path.exists():
            warnings.warn(f"{path} is damaged; reading the masks again", stacklevel=3)
        index = make_index(folder, parse_annotations(file, content), progress)
        try:
            write_tensors(path, index, key)
        except OSError as error:
            warnings.warn(f"the index was not cached (pass cache=...): {error}", stacklevel=3)
    return index


def make_index(folder: Path, records: Records, progress: bool) -> dict[str, Tensor]:
    """Choose a hand for each sample, and drop unusable samples.

    The left hand is chosen if it has more pixels in the mask than the right hand.

    Raises:
        ValueError: If a mask is missing, damaged or differs in size from the first, annotations of
            a chosen hand are not finite or invalid, or no sample is usable.
    """
    file = annotation_file(folder)
    check_files(folder, "mask", list(records))
    left, shape = _choose(folder, list(records), progress)
    hands = select_hands(records, left.numpy(), file)
    order = HAND.index_from(RHD)
    tensors = [torch.from_numpy(values) for values in hands]
    sample, uv_vis, xyz, K = tensors[0], tensors[1][:, order], tensors[2][:, order], tensors[3]
    uv = uv_vis[..., :2].contiguous()
    visible = (uv_vis[..., 2] == 1) & in_frame(uv, *shape)
    reason = _reason(uv, xyz, K, visible, shape)
    keep = reason < 0
    skipped = torch.stack([sample, reason], dim=-1)[~keep]
    if not keep.any():
        first = f"sample {skipped[0, 0]}: {REASONS[int(skipped[0, 1])]}"
        raise ValueError(f"{file}: no sample is of use; {first}")
    kept = {"sample": sample, "uv": uv, "xyz": xyz, "K": K, "visible": visible, "left": left}
    index = {name: values[keep] for name, values in kept.items()}
    return index | {"shape": torch.tensor(shape, device="cpu"), "skipped": skipped}


def check_files(folder: Path, entry: str, samples: list[int]) -> None:
    """Raise unless each sample has a file of this entry."""
    files = folder / FOLDERS[entry]
    existing = set(os.listdir(files)) if files.is_dir() else set()
    for sample in samples:
        if file_name(sample) not in existing:
            path = image_file(folder, entry, sample)
            raise ValueError(f"{path}: the {entry} of sample {sample} is missing")


def _choose(folder: Path, samples: list[int], progress: bool) -> tuple[Tensor, tuple[int, int]]:
    """Return whether the left hand has more pixels, Bool ``[n]``, and the shape of all masks."""
    first = read_png(image_file(folder, "mask", samples[0]), "mask", samples[0])
    shape = (first.shape[0], first.shape[1])

    def count(sample: int) -> tuple[int, int]:
        return hand_pixels(read_png(image_file(folder, "mask", sample), "mask", sample, shape))

    show = None if progress else True
    with ThreadPoolExecutor() as threads:
        try:
            counts = threads.map(count, samples)
            bar = tqdm(counts, "RHD: masks", len(samples), unit="file", disable=show)
            pixels = np.array(list(bar))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return torch.from_numpy(pixels[:, 0] > pixels[:, 1]), shape


def _reason(uv: Tensor, xyz: Tensor, K: Tensor, visible: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the index into ``REASONS`` for each sample, or -1 if it is usable, ``[n]``."""
    uv, xyz, K = uv.double(), xyz.double(), K.double()
    error = (project(xyz, K) - uv).abs().amax(dim=-1)
    allowed = (RELATIVE * uv.abs().amax(dim=-1)).clamp(min=TOLERANCE)
    keybone = keybone_length(xyz)
    reach = (xyz - xyz[..., root_index(HAND), :].unsqueeze(-2)).norm(dim=-1).amax(dim=-1)
    side = (uv.amax(dim=-2) - uv.amin(dim=-2)).amax(dim=-1)
    good = [
        (xyz[..., 2] > 0).all(dim=-1),
        (error <= allowed).all(dim=-1),
        (keybone >= KEYBONE_RANGE[0]) & (keybone <= KEYBONE_RANGE[1]) & (reach <= REACH),
        in_frame(uv, *shape).any(dim=-1),
        visible.any(dim=-1),
        side >= MIN_SIDE,
        side <= MAX_SIDES * max(shape),
    ]
    bad = ~torch.stack(good, dim=-1)
    return torch.where(bad.any(dim=-1), bad.int().argmax(dim=-1), -1)
