"""The Rendered Hand pose Dataset, as a PyG dataset."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset
from tqdm import tqdm

from handgraph._check import check_positive
from handgraph.datasets.rhd.index import REASONS, check_files, load_index
from handgraph.datasets.rhd.layout import (
    FOLDERS,
    check_split,
    decode_depth,
    image_file,
    swap_hands,
)
from handgraph.datasets.rhd.png import import_pillow, read_png
from handgraph.geometry import (
    crop_matrix,
    keybone_length,
    mirror_hand,
    mirror_matrix,
    relative_depth,
    transform_intrinsics,
    transform_points,
    warp_image,
)
from handgraph.geometry.crop import in_frame
from handgraph.skeletons import HAND


class RHDHands(Dataset):
    """Images and poses from the files of RHD, or of whatever :func:`write_rhd` wrote.

    Zimmermann and Brox, *Learning to Estimate 3D Hand Pose from Single RGB Images*, ICCV 2017. One
    hand of each image is used: the left one if more pixels of the mask are its own than are the
    right hand's. A left hand is mirrored, so that all are right hands: image, mask (whose classes
    change sides too), depth, joints and camera. A square around all its joints is cut out
    (:func:`handgraph.geometry.crop_matrix`; decision 27 in the docs) and resized: the image
    with antialiasing, mask and depth by the nearest pixel. What lies beyond the image is 0.

    The first time, all masks are read, which takes a minute or two for 41,258; the index is kept,
    and the next time is instant. Images are read when a sample is taken out, in the workers of a
    data loader too.

    Samples of no use are skipped. ``skipped`` says which and why, and their number is printed: a
    joint is not before the camera; uv and projected xyz differ by more than a pixel (and more than
    0.2 % of the distance from the corner); the keybone is not of 5 to 100 mm, or a joint is more
    than a metre from the wrist; no joint lies in the image; none is visible; the box around the
    joints is smaller than 8 pixels, or larger than four times the image.

    Args:
        root: Folder of ``training`` and ``evaluation``.
        split: Which of the two.
        image_size: Side of the crop. ``None`` takes the whole image as it is.
        margin: Side of the square over the longer side of the box around the joints.
        load: What is read besides joints and camera: any of ``"image"``, ``"mask"``, ``"depth"``.
        cache: Folder of the index; the root if None.
        transform: Called with each sample (a ``Data``) when it is taken out.
        progress: Whether a progress bar is shown (in a terminal only), and skips are printed.

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``. With S the image size:

        - ``image [1, 3, S, S]``: uint8, RGB; ``mask [1, S, S]``: uint8, classes of RHD (0
          background, 1 person, 18 to 33 the right hand); ``depth [1, S, S]``: float32
        - ``uv_true [21, 2]``, ``xyz [21, 3]``, ``K [1, 3, 3]`` of this image
        - ``visible [21]``: Bool; the flag of the file, and False outside of image and crop
        - ``d [21]``: relative depth (Eq. 1); ``s [1]``: keybone length

        The property ``tensors`` holds the entries without pixels for all samples, stacked.

    Units:
        ``uv_true`` and ``K`` in pixels of ``image``, (u, v) order, integers are pixel centres;
        ``xyz``, ``s`` and ``depth`` in metres (x right, y down, z forward); ``d`` in keybone
        lengths.

    Raises:
        FileNotFoundError: If there are no annotations or no masks.
        ImportError: If Pillow is missing (extra ``vision``).
        ValueError: If an argument is out of its range, a file is missing, damaged or not as it must
            be, the annotations hold anything but plain arrays (which are not unpickled: nothing in
            the file is run), or no sample is of use. The message names file and sample.

    Example:
        >>> import tempfile
        >>> from handgraph.datasets import RHDHands, SyntheticHands, write_rhd
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_rhd(root, "training", SyntheticHands(3, image_size=64))
        ...     dataset = RHDHands(root, "training", image_size=128)
        ...     hand = dataset[2]
        >>> len(dataset), hand.image.shape, hand.uv_true.amax().item() < 128
        (3, torch.Size([1, 3, 128, 128]), True)
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "training",
        *,
        image_size: int | None = 256,
        margin: float = 1.25,
        load: Sequence[str] = tuple(FOLDERS),
        cache: str | Path | None = None,
        transform: Callable[[Data], Any] | None = None,
        progress: bool = True,
    ) -> None:
        check_split(split)
        if image_size is not None and (not isinstance(image_size, Integral) or image_size < 1):
            raise ValueError(f"expected image_size to be a positive int or None, got {image_size}")
        check_positive(margin, "margin")
        if isinstance(load, str) or not set(load) <= set(FOLDERS):
            raise ValueError(f"expected load to be some of {', '.join(FOLDERS)}, got {load!r}")
        import_pillow()
        super().__init__(None, transform)
        self.folder = Path(root).expanduser() / split
        self.image_size, self.load = image_size, tuple(load)
        cache = self.folder.parent if cache is None else Path(cache).expanduser()
        index = load_index(self.folder, cache, progress)
        for name in self.load:
            check_files(self.folder, name, index["sample"].tolist())
        self._sample, self._left, self._skipped = (
            index[name] for name in ("sample", "left", "skipped")
        )
        self._shape = (int(index["shape"][0]), int(index["shape"][1]))
        self._tensors, self._crop = _targets(index, image_size, margin)
        if progress and self.skipped:
            tqdm.write(f"RHDHands: {self._summary()}", file=sys.stderr)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All entries without pixels, stacked; of a slice of the dataset, those of the slice."""
        index = self._rows()
        return {name: values[index] for name, values in self._tensors.items()}

    @property
    def sample_ids(self) -> Tensor:
        """Number of each sample in the files (``color/%05d.png``), Long ``[n]``."""
        return self._sample[self._rows()]

    @property
    def mirrored(self) -> Tensor:
        """Whether each sample is a mirrored left hand, Bool ``[n]``."""
        return self._left[self._rows()]

    @property
    def skipped(self) -> dict[int, str]:
        """Number in the files of each sample of no use, and what is wrong with it."""
        return {sample: REASONS[reason] for sample, reason in self._skipped.tolist()}

    def len(self) -> int:
        """Give the number of samples of use."""
        return len(self._sample)

    def get(self, idx: int) -> Data:
        """Read the images of one sample, and give it as a graph."""
        entries = {name: values[idx].clone() for name, values in self._tensors.items()}
        entries["K"], entries["s"] = entries["K"][None], entries["s"][None]
        return HAND.to_data(**entries, **{name: self._pixels(name, idx) for name in self.load})

    def _pixels(self, name: str, idx: int) -> Tensor:
        """Image ``[1, 3, S, S]``, or mask or depth ``[1, S, S]``, of one sample."""
        number = int(self._sample[idx])
        read = read_png(image_file(self.folder, name, number), name, number, self._shape)
        values = torch.from_numpy(decode_depth(read) if name == "depth" else read)
        values = values.permute(2, 0, 1)[None] if name == "image" else values[None]
        if self._left[idx]:
            values = values.flip(-1)
            values = swap_hands(values) if name == "mask" else values
        if self.image_size is None:
            return values.contiguous()
        mode = "bilinear" if name == "image" else "nearest"
        return warp_image(values, self._crop[idx], self.image_size, mode=mode)

    def _rows(self) -> Tensor:
        return torch.tensor(list(self.indices()), dtype=torch.long)

    def _summary(self) -> str:
        counts = Counter(self.skipped.values())
        total = len(self._sample) + len(self._skipped)
        why = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
        return f"skipped {len(self._skipped)} of {total} samples of {self.folder}: {why}"


def _targets(
    index: dict[str, Tensor], image_size: int | None, margin: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Entries without pixels of all samples, and the crop of each mirrored image."""
    width = int(index["shape"][1])
    left = index["left"][:, None, None]
    uv, xyz, K = (index[name].double() for name in ("uv", "xyz", "K"))
    mirrored = mirror_hand(xyz, K, width)
    xyz, K = xyz.where(~left, mirrored[0]), K.where(~left, mirrored[1])
    uv = uv.where(~left, transform_points(mirror_matrix(width, dtype=uv.dtype), uv))
    visible = index["visible"]
    crop = torch.eye(3, dtype=uv.dtype).expand_as(K)
    if image_size is not None:
        crop = crop_matrix(uv, image_size, margin)
        uv, K = transform_points(crop, uv), transform_intrinsics(crop, K)
    if image_size is not None and margin < 1:  # otherwise all joints lie in the crop
        visible = visible & in_frame(uv, image_size, image_size)
    s = keybone_length(xyz)
    entries = {"uv_true": uv, "xyz": xyz, "K": K, "d": relative_depth(xyz, s), "s": s}
    return {n: values.float() for n, values in entries.items()} | {"visible": visible}, crop
