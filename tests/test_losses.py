from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import mse_loss, smooth_l1_loss

from handgraph import HAND, RemovalSets
from handgraph.losses import branch_losses, heatmap_loss, pose_loss, psjnet_loss

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"nothing": [], "palm": ["wrist", "MCP"], "tip": "index_tip"})


def random_poses(removal, lead=(2,), *, scale=3.0):
    pose, target = scale * torch.randn(2, *lead, 21, 3, dtype=torch.float64)
    nodes = (len(removal), removal.num_nodes)
    partial = scale * torch.randn(*lead, *nodes, 3, dtype=torch.float64)
    return pose, partial, target


def eq3(pose, target, alpha=0.01, beta=1.0):
    """Compute Eq. 3 for one hand, one number at a time; joints are rows of (u, v, d)."""
    total = torch.zeros((), dtype=pose.dtype)
    for joint, wanted in zip(pose, target, strict=True):
        for c, weight in enumerate((alpha, alpha, beta)):
            total = total + weight * smooth_l1_loss(joint[c], wanted[c])
    return total


# Eq. 2


def test_heatmap_loss_by_hand():
    heatmaps = torch.zeros(2, 3, 2, 2)
    heatmaps[0, 0] = torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # mean square 0.25
    heatmaps[0, 2] = torch.tensor([[2.0, 0.0], [0.0, 2.0]])  # 2
    heatmaps[1, 1] = torch.tensor([[1.0, 1.0], [1.0, 1.0]])  # 1
    assert heatmap_loss(heatmaps, torch.zeros(2, 3, 2, 2)).item() == (0.25 + 2 + 1) / 2


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3)])
def test_heatmap_loss_is_joints_times_mse(lead):
    heatmaps, target = torch.rand(2, *lead, 21, 6, 4, dtype=torch.float64)
    expected = 21 * mse_loss(heatmaps, target)
    torch.testing.assert_close(heatmap_loss(heatmaps, target), expected)


# Eq. 3


@pytest.mark.parametrize(
    ("uvd", "expected"),
    [
        ([0.5, 0.0, 0.0], 0.01 * 0.125),
        ([0.0, 0.5, 0.0], 0.01 * 0.125),
        ([0.0, 0.0, 0.5], 0.125),
        ([10.5, -4.5, 0.0], 0.01 * (10 + 4)),
        ([0.0, 0.0, -2.0], 1.5),
        ([1.0, 1.0, 1.0], 0.01 + 0.5),
    ],
)
def test_pose_loss_of_one_joint_by_hand(uvd, expected):
    pose = torch.zeros(4, 21, 3, dtype=torch.float64)
    pose[2, HAND.index("ring_dip")] = torch.tensor(uvd, dtype=torch.float64)
    assert pose_loss(pose, torch.zeros_like(pose)).item() == pytest.approx(expected / 4)


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize(("alpha", "beta"), [(0.01, 1.0), (0.3, 0.0), (0.0, 2.0)])
def test_pose_loss_meets_a_slow_twin(lead, alpha, beta):
    pose, _, target = random_poses(LEVELS, lead)
    hands = zip(pose.reshape(-1, 21, 3), target.reshape(-1, 21, 3), strict=True)
    expected = torch.stack([eq3(p, t, alpha, beta) for p, t in hands]).mean()
    torch.testing.assert_close(pose_loss(pose, target, alpha=alpha, beta=beta), expected)


def test_pose_loss_sums_over_joints():
    pose, _, target = random_poses(LEVELS)
    twice = pose_loss(pose.repeat(1, 2, 1), target.repeat(1, 2, 1))
    torch.testing.assert_close(twice, 2 * pose_loss(pose, target))


def test_masked_joints_do_not_count():
    pose, _, target = random_poses(LEVELS)
    mask = torch.rand(2, 21) < 0.5
    expected = sum(eq3(pose[b, mask[b]], target[b, mask[b]]) for b in range(2)) / 2
    pose[~mask] = math.nan
    target[~mask] = math.inf
    pose.requires_grad_()
    loss = pose_loss(pose, target, mask=mask)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    assert (pose.grad[~mask] == 0).all()
    assert (pose.grad[mask] != 0).all()


def test_empty_mask_gives_a_zero_loss():
    pose, _, target = random_poses(LEVELS)
    assert pose_loss(pose, target, mask=torch.zeros(2, 21, dtype=torch.bool)).item() == 0


# The branches and Eq. 4


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_each_branch_is_scored_on_its_kept_joints(removal, lead):
    _, partial, target = random_poses(removal, lead)
    losses = branch_losses(partial, target, removal, alpha=0.2, beta=0.7)
    samples = partial.reshape(-1, len(removal), removal.num_nodes, 3)
    targets = target.reshape(-1, 21, 3)
    for n in range(len(removal)):
        joints = removal.keep_mask[n].nonzero().flatten()
        twins = [
            eq3(sample[n, : len(joints)], wanted[joints], 0.2, 0.7)
            for sample, wanted in zip(samples, targets, strict=True)
        ]
        torch.testing.assert_close(losses[n], torch.stack(twins).mean())


@given(seed=st.integers(0, 2**32 - 1), sets=st.integers(2, 6), size=st.integers(0, 8))
def test_perfect_branches_have_zero_loss(seed, sets, size):
    generator = torch.Generator().manual_seed(seed)
    removal = RemovalSets.random(HAND, sets, size, generator)
    target = torch.randn(3, 21, 3, generator=generator)
    partial = torch.stack([target[:, mask] for mask in removal.keep_mask], dim=1)
    assert branch_losses(partial, target, removal).tolist() == [0] * sets
    assert psjnet_loss(target, partial, target, removal).item() == 0
    partial[:, 0, -1, 2] += 1.0
    assert branch_losses(partial, target, removal)[0].item() == pytest.approx(0.5, rel=1e-5)


def test_padding_has_no_influence():
    _, partial, target = random_poses(RAGGED)
    expected = branch_losses(partial, target, RAGGED)
    partial[:, ~RAGGED.node_mask] = math.nan
    partial.requires_grad_()
    target.requires_grad_()
    losses = branch_losses(partial, target, RAGGED)
    losses.sum().backward()
    torch.testing.assert_close(losses, expected)
    assert (partial.grad[:, ~RAGGED.node_mask] == 0).all()
    assert partial.grad.isfinite().all()
    assert target.grad.isfinite().all()


def test_nan_in_a_removed_joint_of_the_target_spares_that_branch():
    _, partial, target = random_poses(LEVELS)
    target[:, HAND.index("index_dip")] = math.nan
    isnan = branch_losses(partial, target, LEVELS).isnan()
    assert dict(zip(LEVELS.names, isnan.tolist(), strict=True)) == {
        "TIP": True,
        "DIP": False,
        "PIP": True,
        "MCP": True,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["pose", "target"])
def test_nan_of_a_scored_joint_gives_a_nan_loss(bad, where):
    pose, partial, target = random_poses(LEVELS)
    (pose if where == "pose" else target)[0, HAND.index("pinky_mcp"), 2] = bad
    assert not pose_loss(pose, target).isfinite()
    assert not psjnet_loss(pose, partial, target, LEVELS).isfinite()
    heatmaps = torch.zeros(2, 21, 4, 4)
    heatmaps[0, 0, 0, 0] = bad
    assert not heatmap_loss(heatmaps, torch.zeros(2, 21, 4, 4)).isfinite()


def test_nan_in_a_branch_spoils_that_branch_only():
    _, partial, target = random_poses(RAGGED)
    joints = int(RAGGED.num_kept[1])
    partial[0, 1, joints - 1, 0] = math.nan
    assert branch_losses(partial, target, RAGGED).isnan().tolist() == [False, True, False]


def test_masked_joints_do_not_count_in_any_branch():
    pose, partial, target = random_poses(RAGGED)
    mask = torch.rand(2, 21) < 0.5
    losses = branch_losses(partial, target, RAGGED, mask=mask)
    total = psjnet_loss(pose, partial, target, RAGGED, mask=mask)
    for n in range(len(RAGGED)):
        joints = RAGGED.keep_mask[n].nonzero().flatten()
        counts = mask[:, joints]
        nodes = partial[:, n, : len(joints)]
        twins = [eq3(nodes[b, counts[b]], target[b, joints][counts[b]]) for b in range(2)]
        torch.testing.assert_close(losses[n], torch.stack(twins).mean())
    torch.testing.assert_close(total, pose_loss(pose, target, mask=mask) + losses.mean())


def test_eq4_by_hand():
    # One joint off by 2 keybones in the ensemble (1.5) and in one branch of four (1.5 / 4).
    pose, target = torch.zeros(2, 5, 21, 3)
    partial = torch.zeros(5, 4, 16, 3)
    pose[:, HAND.index("thumb_tip"), 2] = 2.0
    partial[:, 3, 7, 2] = -2.0
    assert psjnet_loss(pose, partial, target, LEVELS).item() == 1.5 + 1.5 / 4


def test_eq4_passes_its_weights_on():
    pose, partial, target = random_poses(LEVELS)
    weights = {"alpha": 0.5, "beta": 0.25}
    branches = branch_losses(partial, target, LEVELS, **weights)
    expected = pose_loss(pose, target, **weights) + branches.sum() / 4
    torch.testing.assert_close(psjnet_loss(pose, partial, target, LEVELS, **weights), expected)


@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_gradients(removal):
    inputs = tuple(t.requires_grad_() for t in random_poses(removal, (1,)))
    assert gradcheck(lambda p, q, t: psjnet_loss(p, q, t, removal), inputs)
    heatmaps = torch.rand(2, 1, 3, 2, 2, dtype=torch.float64).requires_grad_()
    assert gradcheck(heatmap_loss, tuple(heatmaps))


def test_non_contiguous_input():
    pose, partial, target = random_poses(LEVELS, (3, 2))
    pose, target = pose.transpose(0, 1), target.transpose(0, 1)
    swapped = psjnet_loss(pose, partial.transpose(0, 1), target, LEVELS)
    whole = psjnet_loss(pose.contiguous(), partial.transpose(0, 1).contiguous(), target, LEVELS)
    torch.testing.assert_close(swapped, whole)


def test_half_precision_predictions_are_scored_in_the_precision_of_the_target():
    pose, partial, target = (t.float() for t in random_poses(LEVELS, (2,), scale=100.0))
    loss = psjnet_loss(pose.bfloat16(), partial.bfloat16(), target, LEVELS)
    rounded = psjnet_loss(pose.bfloat16().float(), partial.bfloat16().float(), target, LEVELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, rounded)


def test_compiles_without_a_graph_break():
    pose, _, target = random_poses(LEVELS)
    heatmaps, wanted = torch.rand(2, 3, 21, 8, 8)
    for loss, inputs in ((pose_loss, (pose, target)), (heatmap_loss, (heatmaps, wanted))):
        compiled = torch.compile(loss, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*inputs), loss(*inputs))


# Errors

MAPS, POSE, PARTIAL = torch.zeros(2, 21, 8, 8), torch.zeros(2, 21, 3), torch.zeros(2, 4, 16, 3)
MASK = torch.ones(2, 21, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heatmap_loss(MAPS, MAPS[:1]), r"\[2, 21, 8, 8\], got \[1, 21, 8, 8\]"),
        (lambda: heatmap_loss(MAPS[0, 0], MAPS[0, 0]), r"\[\*, J, H, W\], got \[8, 8\]"),
        (lambda: pose_loss(POSE, POSE[:1]), r"\[2, 21, 3\], got \[1, 21, 3\]"),
        (lambda: pose_loss(POSE, POSE[0]), r"\[2, 21, 3\], got \[21, 3\]"),
        (lambda: pose_loss(POSE, POSE[..., :1]), r"\[2, 21, 3\], got \[2, 21, 1\]"),
        (lambda: pose_loss(POSE[..., :2], POSE[..., :2]), r"\[\*, J, 3\], got \[2, 21, 2\]"),
        (lambda: pose_loss(POSE[0, 0], POSE[0, 0]), r"\[\*, J, 3\], got \[3\]"),
        (lambda: pose_loss(POSE, POSE, mask=MASK[0]), r"mask of shape \[2, 21\], got \[21\]"),
        (lambda: pose_loss(POSE, POSE, alpha=-1.0), "alpha to be finite, at least 0, got -1.0"),
        (lambda: pose_loss(POSE, POSE, beta=math.nan), "beta to be finite, at least 0, got nan"),
        (
            lambda: branch_losses(PARTIAL, POSE[:1], LEVELS),
            r"partial \[1, 4, 16, 3\] for RemovalSets\(HAND",
        ),
        (lambda: branch_losses(PARTIAL[:, :1], POSE, LEVELS), r"got \[2, 1, 16, 3\]"),
        (lambda: branch_losses(PARTIAL[:, :, :15], POSE, LEVELS), r"got \[2, 4, 15, 3\]"),
        (lambda: branch_losses(PARTIAL, POSE, RAGGED), r"partial \[2, 3, 21, 3\] for .*palm: -6"),
        (lambda: branch_losses(PARTIAL, POSE[:, :20], LEVELS), r"21 joints of HAND, got \[2, 20"),
        (lambda: branch_losses(PARTIAL, POSE[..., :2], LEVELS), r"got \[2, 21, 2\]"),
        (
            lambda: branch_losses(PARTIAL, POSE, LEVELS, alpha=-1.0),
            "alpha to be finite, at least 0, got -1.0",
        ),
        (lambda: branch_losses(PARTIAL, POSE, LEVELS, mask=MASK[:1]), r"got \[1, 21\]"),
        (lambda: psjnet_loss(POSE[:1], PARTIAL, POSE, LEVELS), r"\[1, 21, 3\], got \[2, 21, 3\]"),
    ],
)
def test_value_errors_name_the_actual_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heatmap_loss(MAPS.long(), MAPS), "heatmaps to be floating point, got torch.int"),
        (lambda: pose_loss(POSE, POSE.int()), "target to be floating point, got torch.int32"),
        (lambda: pose_loss(POSE, POSE, mask=MASK.float()), "torch.bool, got torch.float32"),
        (lambda: branch_losses(PARTIAL.long(), POSE, LEVELS), "partial to be floating point"),
        (lambda: branch_losses(PARTIAL, POSE, LEVELS, mask=MASK.long()), "got torch.int64"),
    ],
)
def test_type_errors_name_the_actual_type(call, message):
    with pytest.raises(TypeError, match=message):
        call()
