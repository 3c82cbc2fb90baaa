"""Images follow the joints: a spot drawn at a joint is found at the joint's new pixel."""

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from handgraph.datasets import SyntheticHands
from handgraph.geometry import back_project, project
from handgraph.transforms import (
    JitterKeypoints,
    MirrorHand,
    NormalizeKeypoints,
    RemoveJoints,
    RotateInPlane,
    SimulateOcclusion,
)

SIZE = 96
MOVING = [
    MirrorHand(SIZE),
    RotateInPlane(90),
    RotateInPlane(-37.0),
    Compose([RotateInPlane(20), MirrorHand(SIZE), RotateInPlane(25)]),
]


def photographed(seed=0):
    """Return a hand with an image of each kind, in which joints are spots of 3 x 3 pixels."""
    hand = SyntheticHands(1, seed=seed)[0]
    zoom = torch.diag(torch.tensor([SIZE / 256, SIZE / 256, 1.0]))
    hand.K = zoom @ hand.K
    hand.uv_true = project(hand.xyz[None], hand.K)[0]
    for name in ("uv", "uv_clean", "cue", "cue_clean", "confidence", "confidence_clean"):
        del hand[name]
    hand.image = torch.full((1, 3, SIZE, SIZE), 40, dtype=torch.uint8)
    hand.mask = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    hand.depth = torch.zeros(1, SIZE, SIZE)
    for joint, (u, v) in enumerate(hand.uv_true.round().long().tolist()):
        rows, columns = slice(max(v - 1, 0), v + 2), slice(max(u - 1, 0), u + 2)
        hand.image[0, :, rows, columns] = 255
        hand.mask[0, rows, columns] = 18 + joint % 16
        hand.depth[0, rows, columns] = hand.xyz[joint, 2]
    hand.visible = torch.ones(21, dtype=torch.bool)
    return hand


def spread(hand):
    """Return joints whose spot overlaps no other joint."""
    distance = torch.cdist(hand.uv_true, hand.uv_true) + 99 * torch.eye(21)
    alone = (distance.amin(dim=1) > 5).nonzero().flatten().tolist()
    assert len(alone) > 5
    return alone


@pytest.mark.parametrize("transform", MOVING)
@pytest.mark.parametrize("seed", range(3))
def test_spots_move_with_their_joints(transform, seed):
    hand = photographed(seed)
    moved = transform(hand)
    torch.testing.assert_close(project(moved.xyz[None], moved.K)[0], moved.uv_true)
    mirrored = isinstance(transform, (MirrorHand, Compose))
    found = 0
    for joint in spread(hand):
        u, v = moved.uv_true[joint].round().long().tolist()
        if not moved.visible[joint]:
            continue
        found += 1
        assert moved.image[0, :, v, u].min() > 200
        assert moved.mask[0, v, u] == 18 + joint % 16 - 16 * mirrored
        assert moved.depth[0, v, u] == moved.xyz[joint, 2]
    assert found > 3


@pytest.mark.parametrize("transform", MOVING)
def test_types_and_shapes_stay_and_the_sample_too(transform):
    hand = photographed()
    before = hand.clone()
    moved = transform(hand)
    for name in ("image", "mask", "depth"):
        assert moved[name].dtype == before[name].dtype
        assert moved[name].shape == before[name].shape
        assert not torch.equal(moved[name], before[name])
        assert torch.equal(hand[name], before[name])


def test_mirroring_flips_and_names_the_other_hand():
    hand = photographed()
    hand.mask[0, 0, :6] = torch.tensor([0, 1, 2, 17, 18, 33])
    mirrored = MirrorHand(SIZE)(hand)
    assert torch.equal(mirrored.image, hand.image.flip(-1))
    assert torch.equal(mirrored.depth, hand.depth.flip(-1))
    assert mirrored.mask[0, 0, -6:].tolist() == [17, 2, 33, 18, 1, 0]
    twice = MirrorHand(SIZE)(mirrored)
    for name in ("image", "mask", "depth"):
        assert torch.equal(twice[name], hand[name])


def test_four_quarters_are_a_whole_turn():
    hand = photographed()
    hand.K = torch.tensor([[[200.0, 0, 47.5], [0, 200.0, 47.5], [0, 0, 1]]])
    quarter = RotateInPlane(90)
    turned = quarter(hand)
    for name in ("image", "mask", "depth"):
        assert torch.equal(turned[name], hand[name].rot90(-1, (-2, -1)))  # clockwise
    again = Compose([quarter] * 3)(turned)
    for name in ("image", "mask", "depth"):
        assert torch.equal(again[name], hand[name])


def test_corners_outside_the_image_are_black():
    hand = photographed()
    hand.K = torch.tensor([[[200.0, 0, 47.5], [0, 200.0, 47.5], [0, 0, 1]]])
    turned = RotateInPlane(45)(hand)
    assert (turned.image[0, :, 0, 0] == 0).all()
    assert (turned.image[0, :, 48, 48] >= 40).all()


def test_joints_outside_the_image_are_not_visible():
    hand = photographed()
    hand.K = torch.tensor([[[200.0, 0, 5.0], [0, 200.0, 5.0], [0, 0, 1]]])
    hand.uv_true = torch.linspace(2, 90, 21)[:, None].expand(21, 2).clone()
    hand.xyz = back_project(hand.uv_true[None], hand.xyz[None, :, 2], hand.K)[0]
    hand = Data(uv=hand.uv_true + 500, **hand.to_dict())  # detected outside the image
    turned = RotateInPlane(90)(hand)
    inside = ((turned.uv_true >= -0.5) & (turned.uv_true <= SIZE - 0.5)).all(dim=-1)
    assert 0 < inside.sum() < 21
    assert torch.equal(turned.visible, inside)
    found = hand.clone()
    del found["uv_true"]
    assert torch.equal(RotateInPlane(90)(found).visible, inside)
    del hand["xyz"]
    assert torch.equal(RotateInPlane(90)(hand).visible, inside)
    hand.uv_clean, hand.uv = hand.uv, hand.uv_true
    del hand["uv_true"]
    assert torch.equal(RotateInPlane(90)(hand).visible, inside)
    for name in ("image", "mask", "depth"):
        del hand[name]
    assert RotateInPlane(90)(hand).visible.all()


@pytest.mark.parametrize(
    "transform", [JitterKeypoints(), RemoveJoints(number=4), NormalizeKeypoints(SIZE)]
)
def test_others_leave_pictures_alone(transform):
    hand = photographed()
    hand.uv = hand.uv_true.clone()
    after = transform(hand)
    for name in ("image", "mask", "depth"):
        assert torch.equal(after[name], hand[name])


def test_normalised_joints_are_where_grid_sample_looks():
    hand = NormalizeKeypoints(SIZE)(photographed())
    values = torch.nn.functional.grid_sample(
        hand.depth[None], hand.uv_true[None, None], mode="nearest", align_corners=False
    )[0, 0, 0]
    alone = spread(photographed())
    assert torch.equal(values[alone], hand.xyz[alone, 2])


@pytest.mark.parametrize("name", ["image", "mask", "depth"])
@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (MirrorHand(SIZE + 1), "MirrorHand: expected {} of width 97, got .*96"),
        (NormalizeKeypoints(256), "expected {} of height 256 and width 256, got .*96"),
        (NormalizeKeypoints(256).inverse, "expected {} of height 256 and width 256, got .*96"),
        (SimulateOcclusion(), "SimulateOcclusion: the image would .* remove {} from the Data"),
        (Compose([NormalizeKeypoints(SIZE), RotateInPlane()]), "RotateInPlane: all joints of uv"),
        (Compose([NormalizeKeypoints(SIZE), MirrorHand(SIZE)]), "before NormalizeKeypoints"),
    ],
)
def test_transforms_that_do_not_move_the_image_raise(name, transform, message):
    photo = photographed()
    hand = Data(uv=photo.uv_true, uv_true=photo.uv_true, K=photo.K, xyz=photo.xyz)
    hand[name] = photo[name]
    with pytest.raises(ValueError, match=message.format(name)):
        transform(hand)


def test_random_rotation_uses_one_angle_for_all_entries():
    rotate = RotateInPlane((-60, 60), generator=torch.Generator().manual_seed(4))
    hand = photographed(1)
    for _ in range(5):
        moved = rotate(hand)
        shown = [j for j in spread(hand) if moved.visible[j]]
        u, v = moved.uv_true[shown].round().long().unbind(-1)
        assert torch.equal(moved.depth[0, v, u], moved.xyz[shown, 2])
