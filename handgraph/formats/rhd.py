"""Reader of RHD's pickles of the joints of both hands."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from handgraph.formats.keypoints import Hand, Keypoints, Side, stack
from handgraph.skeletons import HAND, RHD

if TYPE_CHECKING:
    from handgraph.datasets.rhd.annotations import Hands

HIDDEN, VISIBLE = 0.5, 1.0
"""Confidences, as in :func:`handgraph.formats.read_coco`."""

SIDES: tuple[Side, ...] = ("left", "right")
"""The hands of a sample, in the order of the file."""


def read_rhd(source: str | PathLike[str]) -> Keypoints:
    """Read both hands of each image of RHD: ``anno_training.pickle`` or ``anno_evaluation.pickle``.

    Source: Zimmermann and Brox, "Learning to Estimate 3D Hand Pose from Single RGB Images", ICCV
    2017, and the README of the data set.

    Joints are reordered from :data:`handgraph.RHD` to :data:`handgraph.HAND`. No joint is missing:
    ``score`` is 1 for a visible joint, and 0.5 for a joint that is occluded or outside of the
    image. A hand without a visible joint is left out. Nothing in the file is executed.
    :class:`handgraph.datasets.RHDHands` reads images, with one hand for each.

    Args:
        source: The file.

    Shapes:
        Each sample of the file has uv_vis and xyz ``[42, 3]`` and K ``[3, 3]``. See
        :class:`Keypoints` for the result.

    Units:
        The file is in pixels, and in metres in the camera frame.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a pickle of plain arrays, or a sample is wrong. The message
            names the sample and the array.

    Example:
        >>> import tempfile
        >>> from handgraph.datasets import SyntheticHands, write_rhd
        >>> from handgraph.formats import read_rhd
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_rhd(root, "training", SyntheticHands(2, image_size=64))
        ...     hands = read_rhd(f"{root}/training/anno_training.pickle")
        >>> hands.side, hands.name, hands.xyz.shape
        (('right', 'right'), ('color/00000.png', 'color/00001.png'), torch.Size([2, 21, 3]))
    """
    from handgraph.datasets.rhd.annotations import parse_annotations, select_hands

    path = Path(source).expanduser()
    records = parse_annotations(path, path.read_bytes())
    left, right = (
        _hands(select_hands(records, np.full(len(records), side == "left"), path), side)
        for side in SIDES
    )
    both = [hand for pair in zip(left, right, strict=True) for hand in pair]
    return stack([hand for hand in both if hand is not None], str(path))


def _hands(chosen: Hands, side: Side) -> Iterator[Hand | None]:
    """Yield the hand of one side of each sample, or ``None`` if no joint of it is visible."""
    from handgraph.datasets.rhd.layout import FOLDERS, file_name

    order = HAND.index_from(RHD)
    _, uv_vis, xyz, K = (torch.from_numpy(values) for values in chosen)
    for i, sample in enumerate(chosen.sample.tolist()):
        uv, visible = uv_vis[i, order, :2], uv_vis[i, order, 2] == 1
        score = torch.where(visible, VISIBLE, HIDDEN)
        name = f"{FOLDERS['image']}/{file_name(sample)}"
        hand = Hand(uv, score, None, side, None, name, xyz[i, order], K[i])
        yield hand if visible.any() else None
