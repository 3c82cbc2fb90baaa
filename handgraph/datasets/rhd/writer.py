"""Writer of hands in the file format of RHD."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Data, Dataset
from tqdm import tqdm

from handgraph.datasets.rhd.annotations import SHAPES
from handgraph.datasets.rhd.layout import (
    DEPTH_RANGE,
    RIGHT_ROWS,
    annotation_file,
    check_split,
    encode_depth,
    hand_pixels,
    image_file,
)
from handgraph.datasets.rhd.png import import_pillow, write_png
from handgraph.skeletons import HAND, RHD

_BATCH_SIZE = 32


def write_rhd(
    root: str | Path, split: str, samples: Dataset | Sequence[Data], *, progress: bool = True
) -> None:
    """Write hands in the layout of RHD, for :class:`RHDHands` and other readers.

    Each sample becomes ``color/%05d.png``, ``mask/%05d.png``, ``depth/%05d.png`` and an entry of
    ``anno_{split}.pickle``. The hand fills rows 21 to 41, RHD's right hand, in the order of RHD;
    rows 0 to 20, the left hand, are 0 and invisible. The mask must not show more pixels of the left
    hand than of the right one. Depth is written only if the samples have ``depth``.

    If the files are read with ``image_size=None``, images, masks and visibility are identical.
    Joints and camera agree to float32, and depth agrees to 1/65535 of 5 m.

    Files are written to ``{split}.part``, which is renamed when complete. An exception or ctrl-c
    cleans up. After a crash, delete ``{split}.part``.

    Args:
        root: Folder of the splits, created if needed.
        split: ``"training"`` or ``"evaluation"``; must not exist yet.
        samples: A dataset or list of right hands, such as ``SyntheticHands(..., image_size=...)``.
        progress: Whether to show a progress bar (in a terminal only).

    Shapes:
        Each sample has ``image [1, 3, H, W]`` uint8, ``mask [1, H, W]`` uint8 (classes of RHD),
        ``depth [1, H, W]``, ``uv_true [21, 2]``, ``xyz [21, 3]``, ``K [1, 3, 3]`` and ``visible``
        Bool ``[21]``. All samples have the same H and W. Joints are in the order of ``HAND``.

    Units:
        uv_true and K in pixels, (u, v) order; xyz and depth in metres, camera frame; depth from 0
        to 5 m.

    Raises:
        FileExistsError: If the split or its ``.part`` folder exists.
        ImportError: If Pillow is missing (extra ``vision``).
        ValueError: If ``samples`` is empty, an entry is missing, or an entry has the wrong shape,
            type or range. The message names the sample.

    Example:
        >>> import tempfile
        >>> from handgraph.datasets import SyntheticHands, write_rhd
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_rhd(root, "training", SyntheticHands(2, image_size=64))
        ...     sorted(path.name for path in Path(root, "training").iterdir())
        ['anno_training.pickle', 'color', 'depth', 'mask']
    """
    check_split(split)
    import_pillow()
    if not len(samples):
        raise ValueError("write_rhd: expected at least one sample, got none")
    folder = Path(root).expanduser() / split
    part = folder.with_name(f"{split}.part")
    for path in (folder, part):
        if path.exists():
            raise FileExistsError(f"{path} exists: delete it, or choose another root")
    part.mkdir(parents=True)
    try:
        _write(part, split, samples, progress)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part)
        raise


def _write(folder: Path, split: str, samples: Dataset | Sequence[Data], progress: bool) -> None:
    """Write all samples, then the annotations."""
    unused = torch.Generator()  # so that the loader draws no seed from the global generator
    loader = DataLoader(cast(Any, samples), _BATCH_SIZE, collate_fn=list, generator=unused)
    bar = tqdm(total=len(samples), desc="write_rhd", disable=None if progress else True)
    annotations: dict[int, dict[str, NDArray[np.float32]]] = {}
    shapes = _shapes(cast(Data, samples[0]))
    with bar:
        for i, sample in enumerate(hand for batch in loader for hand in batch):
            _check(sample, shapes, f"write_rhd: sample {i}")
            _write_images(folder, sample, i)
            annotations[i] = _annotation(sample)
            bar.update()
    content = pickle.dumps(annotations, protocol=4)
    (folder / annotation_file(Path(split)).name).write_bytes(content)


def _shapes(first: Data) -> dict[str, tuple[torch.dtype, list[int]]]:
    """Return the expected type and shape of the entries."""
    sides = list(first.image.shape[-2:]) if "image" in first else []
    joints, float32, uint8 = HAND.num_joints, torch.float32, torch.uint8
    shapes = {
        "image": (uint8, [1, 3, *sides]),
        "mask": (uint8, [1, *sides]),
        "depth": (float32, [1, *sides]),
        "uv_true": (float32, [joints, 2]),
        "xyz": (float32, [joints, 3]),
        "K": (float32, [1, 3, 3]),
        "visible": (torch.bool, [joints]),
    }
    return {name: shape for name, shape in shapes.items() if name != "depth" or name in first}


def _check(sample: Data, shapes: dict[str, tuple[torch.dtype, list[int]]], where: str) -> None:
    """Raise unless a sample has all entries in the right shapes, types and ranges."""
    if "depth" in sample and "depth" not in shapes:
        raise ValueError(f"{where}: has depth, and the first sample has none")
    for name, (dtype, shape) in shapes.items():
        if name not in sample:
            raise ValueError(f"{where}: has no {name}")
        value = sample[name]
        if value.dtype != dtype or list(value.shape) != shape:
            raise ValueError(
                f"{where}: expected {name} of {dtype} {shape}, "
                f"got {value.dtype} {list(value.shape)}"
            )
        if not value.isfinite().all():
            raise ValueError(f"{where}: {name} is not finite")
    left, right = hand_pixels(sample.mask.cpu().numpy())
    if left > right:
        raise ValueError(f"{where}: the mask shows {left} pixels of a left hand, {right} of ours")
    if "depth" in shapes and not ((sample.depth >= 0) & (sample.depth <= DEPTH_RANGE)).all():
        raise ValueError(f"{where}: expected depth from 0 to {DEPTH_RANGE:g} m")


def _write_images(folder: Path, sample: Data, number: int) -> None:
    pixels = {"image": sample.image[0].permute(1, 2, 0).contiguous(), "mask": sample.mask[0]}
    if "depth" in sample:
        pixels["depth"] = torch.from_numpy(encode_depth(sample.depth[0].cpu().numpy()))
    for name, values in pixels.items():
        path = image_file(folder, name, number)
        path.parent.mkdir(exist_ok=True)
        write_png(path, values.cpu().numpy())


def _annotation(sample: Data) -> dict[str, NDArray[np.float32]]:
    """Return a sample's entry of ``anno_{split}.pickle``."""
    uv_vis = torch.cat([sample.uv_true, sample.visible.unsqueeze(-1)], dim=-1)
    return {
        "uv_vis": _rows("uv_vis", uv_vis),
        "xyz": _rows("xyz", sample.xyz),
        "K": sample.K[0].cpu().numpy(),
    }


def _rows(name: str, values: Tensor) -> NDArray[np.float32]:
    """Return the rows of both hands in the order of RHD, with 0 for the left hand."""
    rows = np.zeros(SHAPES[name], dtype=np.float32)
    rows[RIGHT_ROWS] = values[RHD.index_from(HAND)].cpu().numpy()
    return rows
