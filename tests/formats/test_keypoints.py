"""The common output of all readers: defaults, checks and dtypes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from handgraph import COCO, HAND, RHD
from handgraph.formats import Keypoints, read_coco, read_keypoints, read_mmpose, read_openpose

UV = torch.rand(2, 21, 2)
TWO = {
    "images": [{"id": 1}, {"id": 2, "width": 640, "height": 480}],
    "categories": [{"id": 1, "keypoints": list(HAND.joints)}],
    "annotations": [{"image_id": i, "category_id": 1, "keypoints": [1, 2, 2] * 21} for i in (1, 2)],
}


def test_sides_and_names_are_unknown_by_default():
    hands = Keypoints(UV)
    assert (hands.side, hands.name) == ((None, None), ("", ""))
    assert Keypoints(UV, side=["left", "right"]).side == ("left", "right")
    body = Keypoints(torch.full((1, 17, 2), torch.nan), skeleton=COCO)
    assert body.missing.all()


@pytest.mark.parametrize(
    ("entries", "error", "message"),
    [
        ({"uv": UV.numpy()}, TypeError, "uv as torch.Tensor, got ndarray: call torch.from_numpy"),
        ({"uv": UV[0]}, ValueError, r"uv of shape \[21, 21, 2\], got \[21, 2\]"),
        ({"uv": UV.long()}, TypeError, "uv to be floating point"),
        ({"score": np.ones((2, 21))}, TypeError, "score as torch.Tensor"),
        (
            {"score": torch.ones(2, 21, 1)},
            ValueError,
            r"score of shape \[2, 21\], got \[2, 21, 1\]",
        ),
        ({"side": ["left"]}, ValueError, "expected 2 sides, got 1"),
        ({"side": ["Left", "right"]}, ValueError, r"sides 'left', 'right' or None, got \('Left',"),
        ({"name": "ab"}, TypeError, "name as a tuple of strings, got 'ab'"),
        ({"skeleton": "HAND"}, TypeError, "Keypoints: expected a Skeleton, such as HAND, got str"),
    ],
)
def test_what_does_not_fit_is_refused(entries, error, message):
    with pytest.raises(error, match=message):
        Keypoints(**{"uv": UV} | entries)


def test_hands_are_equal_to_themselves_only():
    hands = Keypoints(UV)
    assert hands == hands
    assert hands != copy.deepcopy(hands)
    assert torch.equal(pickle.loads(pickle.dumps(hands)).uv, UV)


def test_readers_give_float32_whatever_the_default_is():
    """One image of two has a size, and a file has no hand."""
    torch.set_default_dtype(torch.float64)
    try:
        found = [read_coco(TWO), read_openpose({"people": []})]
    finally:
        torch.set_default_dtype(torch.float32)
    assert found[0].image_size.dtype == found[0].uv.dtype == found[1].uv.dtype == torch.float32


@pytest.mark.parametrize("read", [read_coco, read_mmpose, read_keypoints])
@pytest.mark.parametrize("order", ["RHD", list(RHD.joints)])
def test_an_order_is_a_skeleton(read, order):
    with pytest.raises(
        TypeError, match=f"order: expected a Skeleton, .*got {type(order).__name__}"
    ):
        read(TWO if read is not read_mmpose else [], order=order)
