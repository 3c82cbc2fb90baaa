"""The Rendered Hand pose Dataset as a PyG dataset."""

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
    """Images and poses from the files of RHD, or from files of :func:`write_rhd`.

    Zimmermann and Brox, *Learning to Estimate 3D Hand Pose from Single RGB Images*, ICCV 2017. One
    hand of each image is used: the left one if it has more pixels in the mask than the right one.
    Left hands are mirrored, so that all hands are right hands. Mirroring applies to image, mask
    (whose classes are swapped), depth, joints and camera. A square crop around all joints
    (:func:`handgraph.geometry.crop_matrix`; decision 27 in the docs) is resized: the image with
    antialiasing, mask and depth with the nearest pixel. Pixels outside of the image are 0.

    The first use reads all masks, which takes a minute or two for 41,258 samples. The resulting
    index is cached. Images are read on access, also in the workers of a data loader.

    Unusable samples are skipped and listed in ``skipped`` with the reason; their number is printed.
    The reasons are: a joint is not in front of the camera; uv and projected xyz differ by more than
    a pixel (and more than 0.2 % of the distance from the corner); the keybone is not 5 to 100 mm
    long, or a joint is more than a metre from the wrist; no joint lies in the image; no joint is
    visible; the bounding box of the joints is smaller than 8 pixels, or larger than four times the
    image.

    Args:
        root: Folder that contains ``training`` and ``evaluation``.
        split: ``"training"`` or ``"evaluation"``.
        image_size: Side of the crop. ``None`` keeps the whole image.
        margin: Ratio of the side of the crop to the longer side of the joints' bounding box.
        load: Which of ``"image"``, ``"mask"`` and ``"depth"`` to read.
        cache: Folder of the cached index. Default: ``root``.
        transform: Function applied to each sample (a ``Data``) on access.
        progress: Whether to show a progress bar (in a terminal only) and to print skipped samples.

    Shapes:
        Each sample is a ``Data`` on the graph ``HAND.edge_index``. With S the image size:

        - ``image [1, 3, S, S]``: uint8, RGB; ``mask [1, S, S]``: uint8, classes of RHD (0
          background, 1 person, 18 to 33 the right hand); ``depth [1, S, S]``: float32
        - ``uv_true [21, 2]``, ``xyz [21, 3]``, ``K [1, 3, 3]`` of this image
        - ``visible [21]``: Bool, the flag of the file, but False outside of image and crop
        - ``d [21]``: relative depth (Eq. 1); ``s [1]``: keybone length

        The property ``tensors`` stacks the entries without pixels over all samples.

    Units:
        ``uv_true`` and ``K`` in pixels of ``image``, (u, v) order, integers are pixel centres;
        ``xyz``, ``s`` and ``depth`` in metres (x right, y down, z forward); ``d`` in keybone
        lengths.

    Raises:
        FileNotFoundError: If the annotations or the masks do not exist.
        ImportError: If Pillow is missing (extra ``vision``).
        ValueError: If an argument is out of its range, a file is missing, damaged or invalid, the
            annotations contain anything but plain arrays (nothing in the file is executed), or no
            sample is usable. The message names file and sample.

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
        """Entries without pixels, stacked; a slice of the dataset stacks its own samples."""
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
        """Sample number in the files of each unusable sample, and the reason."""
        return {sample: REASONS[reason] for sample, reason in self._skipped.tolist()}

    def len(self) -> int:
        """Return the number of usable samples."""
        return len(self._sample)

    def get(self, idx: int) -> Data:
        """Read the images of one sample, and return it as a graph."""
        entries = {name: values[idx].clone() for name, values in self._tensors.items()}
        entries["K"], entries["s"] = entries["K"][None], entries["s"][None]
        with torch.device("cpu"):  # independent of the default device
            return HAND.to_data(**entries, **{name: self._pixels(name, idx) for name in self.load})

    def _pixels(self, name: str, idx: int) -> Tensor:
        """Return image ``[1, 3, S, S]``, or mask or depth ``[1, S, S]``, of one sample."""
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
        return torch.tensor(list(self.indices()), dtype=torch.long, device="cpu")

    def _summary(self) -> str:
        counts = Counter(self.skipped.values())
        total = len(self._sample) + len(self._skipped)
        why = ", ".join(f"{reason} ({count})" for reason, count in counts.items())
        return f"skipped {len(self._skipped)} of {total} samples of {self.folder}: {why}"


def _targets(
    index: dict[str, Tensor], image_size: int | None, margin: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the entries without pixels of all samples, and the crop matrices."""
    width = int(index["shape"][1])
    left = index["left"][:, None, None]
    uv, xyz, K = (index[name].double() for name in ("uv", "xyz", "K"))
    mirrored = mirror_hand(xyz, K, width)
    xyz, K = xyz.where(~left, mirrored[0]), K.where(~left, mirrored[1])
    mirror = mirror_matrix(width, dtype=uv.dtype, device=uv.device)
    uv = uv.where(~left, transform_points(mirror, uv))
    visible = index["visible"]
    crop = torch.eye(3, dtype=uv.dtype, device=uv.device).expand_as(K)
    if image_size is not None:
        crop = crop_matrix(uv, image_size, margin)
        uv, K = transform_points(crop, uv), transform_intrinsics(crop, K)
    if image_size is not None and margin < 1:  # with a larger margin all joints lie in the crop
        visible = visible & in_frame(uv, image_size, image_size)
    s = keybone_length(xyz)
    entries = {"uv_true": uv, "xyz": xyz, "K": K, "d": relative_depth(xyz, s), "s": s}
    return {n: values.float() for n, values in entries.items()} | {"visible": visible}, crop
