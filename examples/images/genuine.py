"""Genuine images of RHD, from a folder with a few of them and mmpose's json."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from handgraph import HAND, RHD
from handgraph.geometry import crop_matrix, mirror_matrix, transform_points, warp_image

MARGIN = 1.5
"""Side of the crop over that of the joints' box: what rendered hands have about them."""


def read_sample(folder: Path, size: int) -> dict[str, Tensor]:
    """Crop the hands of ``test_rhd.json``, mirror left ones, and put the joints in our order.

    The json does not say which joints are visible: all are said to be.
    """
    content = json.loads((folder / "test_rhd.json").read_text(encoding="utf-8"))
    files = {image["id"]: folder / image["file_name"] for image in content["images"]}
    hands = [crop(hand, files[hand["image_id"]], size) for hand in content["annotations"]]
    image, uv = (torch.stack(values) for values in zip(*hands, strict=True))
    return {"image": image, "uv": uv, "visible": torch.ones(uv.shape[:2], dtype=torch.bool)}


def crop(hand: dict, file: Path, size: int) -> tuple[Tensor, Tensor]:
    """One hand: image ``[3, size, size]``, and (u, v) in its pixels ``[21, 2]``."""
    uv = torch.tensor(hand["keypoints"])[HAND.index_from(RHD), :2]
    A = crop_matrix(uv, size, MARGIN)
    if hand["hand_type"] == "left":
        A = mirror_matrix(size) @ A
    image = pil_to_tensor(Image.open(file).convert("RGB"))
    return warp_image(image, A, size), transform_points(A, uv)
