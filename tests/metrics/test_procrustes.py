from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handgraph.metrics import joint_errors, procrustes_align, scale_align

MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def pair(seed, num_joints=21):
    rng = torch.Generator().manual_seed(seed)
    target, noise = torch.randn(2, num_joints, 3, generator=rng, dtype=torch.float64)
    return target + 0.3 * noise, target


def rotation(seed):
    return torch.from_numpy(Rotation.random(rng=np.random.default_rng(seed)).as_matrix())


def align_with_scipy(pred, target):
    """Align with scipy's rotation (Kabsch) and a least-squares scale."""
    source, goal = pred - pred.mean(0), target - target.mean(0)
    turned = Rotation.align_vectors(goal, source)[0].apply(source)
    return (goal * turned).sum() / (source**2).sum() * turned + target.mean(0)


@pytest.mark.parametrize("seed", range(5))
def test_matches_scipy_align_vectors(seed):
    pred, target = pair(seed)
    for source in (pred, pred * MIRROR):  # a mirrored hand must stay mirrored
        expected = align_with_scipy(source.numpy(), target.numpy())
        np.testing.assert_allclose(procrustes_align(source, target).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_matches_scipy_procrustes_where_no_reflection_is_wanted(seed):
    pred, target = pair(seed)
    _, _, disparity = scipy.spatial.procrustes(target.numpy(), pred.numpy())
    residual = joint_errors(procrustes_align(pred, target), target).square().sum()
    size = (target - target.mean(0)).square().sum()
    assert (residual / size).item() == pytest.approx(disparity, rel=1e-9)


def test_a_mirrored_pose_does_not_fit():
    _, target = pair(0)
    errors = joint_errors(procrustes_align(target * MIRROR, target), target)
    assert errors.mean() > 0.3
    _, _, disparity = scipy.spatial.procrustes(target.numpy(), (target * MIRROR).numpy())
    assert disparity < 1e-12  # scipy allows reflections


def test_mirrored_ellipsoid_in_closed_form():
    # axes 3, 2, 1 mirrored along x: the best rotation is about y and undoes the mirror but flips z
    axes = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    target = torch.cat([axes, -axes])
    scale = (9 + 4 - 1) / (9 + 4 + 1)
    expected = scale * target * torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(procrustes_align(target * MIRROR, target), expected.double())


@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.01, 100),
    shift=st.tuples(*[st.floats(-10, 10)] * 3),
    num_joints=st.integers(3, 42),
)
def test_invariant_to_similarities_of_the_prediction(seed, scale, shift, num_joints):
    pred, target = pair(seed, num_joints)
    moved = scale * pred @ rotation(seed).T + torch.tensor(shift, dtype=torch.float64)
    expected = procrustes_align(pred, target)
    torch.testing.assert_close(procrustes_align(moved, target), expected, rtol=0, atol=1e-6)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_undoes_a_similarity(seed, scale):
    _, target = pair(seed)
    moved = scale * target @ rotation(seed).T + 3
    torch.testing.assert_close(procrustes_align(moved, target), target, rtol=0, atol=1e-9)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_equivariant_to_similarities_of_the_target(seed, scale):
    pred, target = pair(seed)
    turn = rotation(seed + 1)
    aligned = procrustes_align(pred, scale * target @ turn.T + 2)
    expected = scale * procrustes_align(pred, target) @ turn.T + 2
    torch.testing.assert_close(aligned, expected, rtol=0, atol=1e-8 * scale)


def test_float32_hand_in_metres():
    pred, target = pair(0)
    offset = torch.tensor([0.1, -0.2, 0.7], dtype=torch.float64)
    exact = procrustes_align(0.05 * pred + offset, 0.05 * target + offset)
    single = procrustes_align((0.05 * pred + offset).float(), (0.05 * target + offset).float())
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-6)


def test_batch_equals_one_by_one():
    pairs = [pair(seed) for seed in range(6)]
    pred, target = (torch.stack(x).reshape(2, 3, 21, 3) for x in zip(*pairs, strict=True))
    visible = torch.rand(2, 3, 21) < 0.7
    together = procrustes_align(pred, target, visible)
    for i in range(2):
        for j in range(3):
            alone = procrustes_align(pred[i, j], target[i, j], visible[i, j])
            torch.testing.assert_close(together[i, j], alone)


def test_fits_visible_joints_and_moves_all():
    pred, target = pair(0)
    visible = torch.arange(21) < 8
    aligned = procrustes_align(pred, target, visible)
    torch.testing.assert_close(aligned[:8], procrustes_align(pred[:8], target[:8]))
    swapped = procrustes_align(pred.flip(0), target.flip(0), visible.flip(0))
    torch.testing.assert_close(aligned, swapped.flip(0))
    assert aligned.isfinite().all()


def test_in_the_plane():
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
    target = torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(procrustes_align(4 * target @ turn + 1, target), target)


def test_in_the_plane_two_joints_or_a_line_are_enough():
    pred, target = torch.randn(2, 6, 21, 2, dtype=torch.float64)
    visible = torch.arange(21) < torch.tensor([[1]] + 5 * [[2]])
    errors = joint_errors(procrustes_align(pred, target, visible), target)
    assert errors[0].isnan().all()
    assert errors[1:].isfinite().all()
    assert errors[1:, :2].max() < 1e-12
    assert errors[1:, 2:].min() > 1e-3
    line = torch.linspace(-1, 1, 21, dtype=torch.float64).unsqueeze(-1) * target[:, :1]
    torch.testing.assert_close(procrustes_align(3 * line.flip(-1) + 5, line), line)


def test_autocast_does_not_round():
    pred, target = (x.float() for x in pair(0))
    expected = procrustes_align(pred, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(procrustes_align(pred, target), expected)


def test_three_joints_are_enough():
    pred, target = pair(1, num_joints=3)
    assert procrustes_align(pred, target).isfinite().all()


def test_empty_batch():
    assert procrustes_align(torch.zeros(0, 21, 3), torch.zeros(0, 21, 3)).shape == (0, 21, 3)


def line(dtype, seed):
    rng = torch.Generator().manual_seed(seed)
    start, direction = torch.randn(2, 3, generator=rng, dtype=dtype)
    return start + 0.1 * torch.randn(21, 1, generator=rng, dtype=dtype) * direction


@given(
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10**6),
    spread=st.floats(0, 1),
)
def test_poses_on_a_line_or_in_a_point_are_nan(dtype, seed, spread):
    _, pose = pair(seed)
    flat = line(dtype, seed)
    flat = flat[:1] + spread * (flat - flat[:1])
    assert procrustes_align(flat, pose.to(dtype)).isnan().all()
    assert procrustes_align(pose.to(dtype), flat).isnan().all()


def test_a_narrow_pose_is_no_line():
    pred, target = (0.05 * x * torch.tensor([1.0, 0.01, 0.01]) for x in pair(0))
    exact = procrustes_align(pred, target)
    assert exact.isfinite().all()
    single = procrustes_align(pred.float(), target.float())
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_visible", [0, 1, 2])
def test_too_few_visible_joints_are_nan(num_visible):
    pred, target = pair(0)
    assert procrustes_align(pred, target, torch.arange(21) < num_visible).isnan().all()


def test_two_equally_good_reflections_are_nan():
    sphere = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    assert procrustes_align(sphere * MIRROR, sphere).isnan().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_degenerate_pose_does_not_affect_its_batch(bad):
    pred, target = (x.expand(3, 21, 3).clone() for x in pair(0))
    pred[1, 4, 2] = bad
    aligned = procrustes_align(pred, target)
    assert aligned[1].isnan().all()
    torch.testing.assert_close(aligned[[0, 2]], procrustes_align(*pair(0)).expand(2, 21, 3))


def test_scale_alone_is_least_squares():
    pred, target = torch.rand(5, 21, 3).double(), torch.rand(5, 21, 3).double()
    visible = torch.rand(5, 21) < 0.7
    found = scale_align(pred, target, visible)
    for n in range(5):
        x, y = (pose[n][visible[n]].reshape(-1, 1).numpy() for pose in (pred, target))
        (scale,), *_ = np.linalg.lstsq(x, y, rcond=None)
        torch.testing.assert_close(found[n], scale.item() * pred[n])
    assert scale_align(torch.zeros(21, 3), torch.ones(21, 3)).isnan().all()
