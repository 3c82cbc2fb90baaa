"""The crop that follows a hand, and drawn joints."""

import math

import pytest
import torch
from torch.testing import assert_close

from handgraph import COCO, HAND
from handgraph.geometry import crop_matrix, transform_points
from handgraph.video import OneEuro, Pose, draw_joints, follow

SIZE = 64
RING = torch.stack([torch.linspace(0, 2 * math.pi, 22)[:21].cos(),
                    torch.linspace(0, 2 * math.pi, 22)[:21].sin()], dim=-1)  # fmt: skip


class Hand:
    """A moving hand; ``crops`` are the maps to the crops in which it was estimated."""

    def __init__(self, centers, radius=20.0):
        self.there = [radius * RING + torch.tensor(center) for center in centers]
        self.crops, self.boxes = [], 0

    def first_box(self, image):
        self.boxes += 1
        return torch.tensor([[0.0, 0.0], [99.0, 99.0]])

    def estimate(self, image, to_crop):
        self.crops.append(to_crop)
        uv = transform_points(to_crop, self.there[len(self.crops) - 1])
        return Pose(uv, torch.zeros(21), torch.ones(21))

    def follow(self, beta=1e6):
        image = torch.zeros(3, 100, 200, dtype=torch.uint8)
        frames = [(i / 30, image) for i in range(len(self.there))]
        return list(follow(frames, self.first_box, self.estimate, size=SIZE, beta=beta))


def test_crop_is_around_the_last_joints():
    hand = Hand([(50.0, 50.0), (55.0, 50.0), (60.0, 52.0)])
    found = hand.follow()
    first = crop_matrix(torch.tensor([[0.0, 0.0], [99.0, 99.0]]), SIZE)
    expected = [first, *(crop_matrix(uv, SIZE) for uv in hand.there[:2])]
    assert_close(torch.stack(hand.crops), torch.stack(expected), atol=1e-3, rtol=0)
    assert hand.boxes == 1
    for frame, uv in zip(found, hand.there, strict=True):  # with a large beta nothing is smoothed
        assert_close(frame.pose.uv, uv, atol=0.01, rtol=0)
    assert [frame.seconds for frame in found] == [0, 1 / 30, 2 / 30]


def test_what_is_given_is_smooth():
    hand = Hand([(50.0, 50.0), (60.0, 50.0), (50.0, 50.0)])
    smooth = OneEuro(1.0, 0.02)
    for i, frame in enumerate(hand.follow(0.02)):
        assert_close(frame.pose.uv, smooth(hand.there[i], i / 30), atol=1e-3, rtol=0)


@pytest.mark.parametrize("lost", [(250.0, 50.0), (torch.nan, 50.0)])
def test_a_lost_hand_is_looked_for_where_the_first_was(lost):
    hand = Hand([(50.0, 50.0), lost, (50.0, 50.0)])
    hand.follow()
    assert hand.boxes == 2
    assert torch.equal(hand.crops[0], hand.crops[2])


def test_a_tiny_hand_is_lost():
    hand = Hand([(50.0, 50.0)] * 2, radius=5.0)
    hand.follow()
    assert hand.boxes == 2


def test_hand_is_drawn_where_it_is():
    image = torch.full((3, 100, 120), 255, dtype=torch.uint8)
    uv = 30 * RING + torch.tensor([60.0, 50.0])
    drawn = draw_joints(image, uv)
    assert drawn.shape == image.shape
    assert image.eq(255).all()  # a copy
    changed = (drawn != 255).any(dim=0)
    for u, v in uv.round().long().tolist():
        assert changed[v, u]
    assert not changed[:10].any()


def test_missing_joints_and_their_edges_are_not_drawn():
    image = torch.zeros(3, 100, 120, dtype=torch.uint8)
    uv = 30 * RING + torch.tensor([60.0, 50.0])
    lost = HAND.index("index_pip")
    uv[lost] = torch.nan
    drawn = draw_joints(image, uv)
    middle = (uv[HAND.index("index_dip")] + 30 * RING[lost] + torch.tensor([60.0, 50.0])) / 2
    u, v = middle.round().long().tolist()
    assert not drawn[:, v, u].any()
    assert draw_joints(image, torch.full((17, 2), torch.nan), COCO).eq(0).all()


def test_drawing_says_what_it_takes():
    image, uv = torch.zeros(3, 9, 9, dtype=torch.uint8), torch.zeros(21, 2)
    with pytest.raises(TypeError, match="expected a uint8 image, got torch.float32"):
        draw_joints(image.float(), uv)
    for wrong in ((image[0], uv), (image, uv[:20])):
        with pytest.raises(ValueError, match=r"expected an image \[3, H, W\] and uv \[21, 2\]"):
            draw_joints(*wrong)
