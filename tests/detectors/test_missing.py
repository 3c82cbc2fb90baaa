"""Each way to mark a joint as missing is recognised, and operations keep joints missing."""

import pytest
import torch
from torch_geometric.loader import DataLoader

from handgraph import COCO, HAND, RemovalSets
from handgraph.datasets import SyntheticHands
from handgraph.detectors import Missing
from handgraph.detectors.missing import MIN_JOINTS
from handgraph.plot import draw_pose
from handgraph.transforms import (
    JitterKeypoints,
    MirrorHand,
    NormalizeKeypoints,
    RemoveJoints,
    RotateInPlane,
    SimulateOcclusion,
)

FINGERS = ~RemovalSets.by_finger(HAND).keep_mask


def sample(missing, number=4000, **changes):
    source = torch.Generator().manual_seed(0)
    uv = 256 * torch.rand(number, 21, 2, generator=source)
    score = changes.get("score", torch.rand(number, 21, generator=source))
    return uv, score, missing.sample(uv, score, generator=source)


def test_single_joints_are_lost_up_to_their_number():
    _, _, lost = sample(Missing(1.0, ("joints",), joints=5))
    counts = lost.sum(dim=1)
    assert counts.unique().tolist() == [1, 2, 3, 4, 5]
    assert lost.float().mean(dim=0).std() < 0.02  # all joints are equally likely


def test_whole_fingers_are_lost():
    _, _, lost = sample(Missing(1.0, ("fingers",), fingers=2))
    whole = (lost[:, None] & FINGERS).sum(-1) == FINGERS.sum(-1)
    assert whole.sum(dim=1).unique().tolist() == [1, 2]
    assert torch.equal((whole[:, :, None] & FINGERS).any(1), lost)


def test_a_region_is_lost():
    uv, _, lost = sample(Missing(1.0, ("region",), radius=(40.0, 40.0)))
    within = (uv[:, :, None] - uv[:, None]).norm(dim=-1) <= 40.0
    assert (within == lost[:, None]).all(-1).any(-1).all()


def test_a_border_cuts_off_one_side():
    uv, _, lost = sample(Missing(1.0, ("border",)))
    inside = [
        torch.where(lost, torch.inf, s).amin(1) > torch.where(lost, s, -torch.inf).amax(1)
        for s in (-uv[..., 0], uv[..., 0], -uv[..., 1], uv[..., 1])
    ]
    assert (torch.stack(inside).any(0) | ~lost.any(1)).all()
    assert 0.9 < lost.any(1).float().mean() <= 1


def test_low_scores_are_lost():
    _, score, lost = sample(Missing(1.0, ("score",), threshold=(0.3, 0.3)))
    assert torch.equal(lost, score < 0.3)
    unknown = torch.full((100, 21), 0.5)
    assert not sample(Missing(1.0, ("score",)), 100, score=unknown)[2].any()


def test_a_share_of_the_hands_loses_joints_and_keeps_a_few():
    _, _, lost = sample(Missing(0.4, ("joints",), joints=21))
    assert lost.any(1).float().mean() == pytest.approx(0.4 * 17 / 21, abs=0.02)
    assert (~lost).sum(1).min() >= MIN_JOINTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 1.5}, "share of Missing to be from 0 to 1, got 1.5"),
        ({"ways": ("luck",)}, "expected ways of"),
        ({"ways": ()}, "expected ways of"),
        ({"joints": 22}, "joints of Missing to be from 0 to 21, got 22"),
        ({"radius": (3.0, 1.0)}, "radius of Missing as .least, largest."),
        ({"threshold": (0.0, 2.0)}, "threshold of Missing as .least, largest., from 0 to 1"),
    ],
)
def test_wrong_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Missing(**arguments)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"uv of shape \[n, 21, 2\], got \[21, 2\]"):
        Missing().sample(torch.zeros(21, 2), torch.zeros(21))
    with pytest.raises(ValueError, match=r"score of shape \[3, 21\]"):
        Missing().sample(torch.zeros(3, 21, 2), torch.zeros(3, 21, 1))


@pytest.fixture(scope="module")
def hands():
    return SyntheticHands(40, missing=Missing(1.0), left_fraction=0.5, progress=False)


@pytest.mark.parametrize(
    "transform",
    [
        JitterKeypoints(1.0),
        MirrorHand(256),
        NormalizeKeypoints(256),
        RemoveJoints("TIP"),
        RotateInPlane(),
        SimulateOcclusion(1.0),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_transforms_keep_missing_joints_missing(hands, transform):
    for hand in hands:
        after = transform(hand)
        assert torch.equal(after.uv.isfinite().all(-1), hand.found)
        assert torch.equal(after.found, hand.found)


def test_a_mirrored_hand_is_of_the_other_side(hands):
    for hand in hands[:5]:
        assert torch.equal(MirrorHand(256)(hand).left, ~hand.left)


def test_found_joints_change_sides_with_the_others():
    found = torch.rand(17, generator=torch.Generator().manual_seed(0)) < 0.5
    body = COCO.to_data(uv=200 * torch.rand(17, 2), found=found)
    left, right = COCO.index("left_wrist"), COCO.index("right_wrist")
    mirrored = MirrorHand(256, COCO)(body).found
    assert mirrored[left] == found[right]
    assert torch.equal(mirrored[COCO.swap_sides()], found)


def test_loaders_keep_missing_joints_missing(hands):
    batch = next(iter(DataLoader(hands, batch_size=40)))
    assert torch.equal(batch.uv.isfinite().all(-1), batch.found)
    assert torch.equal(batch.x.isfinite().all(-1), batch.found)


def test_plots_leave_missing_joints_out(hands):
    hand = next(hand for hand in hands if not hand.found.all())
    ax = draw_pose(hand.uv)
    drawn = {float(x) for line in ax.lines for x in line.get_xdata() if x == x}
    assert drawn == set(hand.uv[hand.found][:, 0].tolist())
    ax.figure.canvas.draw()
