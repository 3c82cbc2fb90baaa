from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handgraph.metrics import (
    box_size,
    joint_errors,
    mpjpe,
    pa_mpjpe,
    procrustes_align,
    visible_mean,
)


def poses(*shape, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    pred, target = torch.randn(2, *shape, 3, generator=rng, dtype=dtype)
    return 0.05 * pred, 0.05 * target


def test_joint_errors_by_hand():
    pred = torch.tensor([[[0.0, 3.0, 4.0], [1.0, 1.0, 1.0]]])
    target = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, -1.0]]])
    assert joint_errors(pred, target).tolist() == [[5.0, 2.0]]


def test_joint_errors_are_not_root_aligned():
    pred, target = poses(4, 21)
    shift = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert (joint_errors(pred + shift, target) > 0.5).all()


def test_joint_errors_in_the_plane():
    assert joint_errors(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).tolist() == [5.0]


def test_joint_errors_match_a_loop():
    pred, target = poses(2, 3, 5)
    errors = joint_errors(pred, target)
    for i in range(2):
        for j in range(3):
            for k in range(5):
                squares = [(pred[i, j, k, c] - target[i, j, k, c]).item() ** 2 for c in range(3)]
                assert errors[i, j, k].item() == pytest.approx(sum(squares) ** 0.5, rel=1e-12)


def test_nan_in_nan_out():
    pred, target = poses(2, 5)
    pred[0, 3, 1] = torch.nan
    assert joint_errors(pred, target).isnan().nonzero().tolist() == [[0, 3]]
    assert mpjpe(pred, target).isnan()
    assert pa_mpjpe(pred, target).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe])
def test_dtype_is_kept(metric, dtype):
    pred, target = poses(3, 21, dtype=dtype)
    assert metric(pred, target).dtype == dtype
    assert joint_errors(pred, target).dtype == dtype


def test_mpjpe_by_hand():
    pred = torch.tensor([[[3.0, 0, 0], [1, 0, 0]], [[5, 0, 0], [9, 0, 0]]])
    visible = torch.tensor([[True, True], [True, False]])
    target = torch.zeros(2, 2, 3)
    assert mpjpe(pred, target).item() == 4.5
    assert mpjpe(pred, target, visible).item() == 3.0
    assert mpjpe(pred, target, visible, average="joint").item() == 2.5


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe])
def test_hidden_joints_have_no_influence(metric):
    pred, target = poses(3, 21)
    visible = torch.rand(3, 21) < 0.6
    expected = metric(pred, target, visible)
    spoilt = torch.where(visible[..., None], pred, torch.nan).requires_grad_()
    value = metric(spoilt, torch.where(visible[..., None], target, torch.nan), visible)
    assert value == expected
    (grad,) = torch.autograd.grad(value, spoilt)
    assert grad.isfinite().all()
    assert (grad[~visible] == 0).all()
    assert (grad[visible] != 0).all()


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe])
def test_no_visible_joint_is_nan(metric):
    pred, target = poses(3, 21)
    assert metric(pred, target, torch.zeros(3, 21, dtype=torch.bool)).isnan()


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe])
def test_gradcheck(metric):
    pred, target = poses(2, 5)
    visible = torch.tensor([[True] * 5, [True] * 4 + [False]])
    assert torch.autograd.gradcheck(lambda x: metric(x, target, visible), pred.requires_grad_())


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe])
def test_compiles_without_graph_breaks(metric):
    pred, target = poses(2, 5)
    visible = torch.ones(2, 5, dtype=torch.bool)
    compiled = torch.compile(metric, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(pred, target, visible), metric(pred, target, visible))


def test_leading_dimensions_and_strides_do_not_matter():
    pred, target = poses(2, 3, 5)
    for metric in (mpjpe, pa_mpjpe):
        flat = metric(pred.reshape(6, 5, 3), target.reshape(6, 5, 3))
        torch.testing.assert_close(metric(pred, target), flat)
        strided = pred.transpose(0, 1).contiguous().transpose(0, 1)
        torch.testing.assert_close(metric(strided, target), flat)
    torch.testing.assert_close(mpjpe(pred[0, 0], target[0, 0]), mpjpe(pred[:1, :1], target[:1, :1]))


def test_pa_mpjpe_is_the_mean_error_of_aligned_poses():
    pred, target = poses(3, 21)
    visible = torch.rand(3, 21) < 0.6
    aligned = procrustes_align(pred, target, visible)
    expected = visible_mean(joint_errors(aligned, target), visible, average="joint")
    torch.testing.assert_close(pa_mpjpe(pred, target, visible, average="joint"), expected)


def test_pa_mpjpe_is_nan_if_one_pose_cannot_be_aligned():
    pred, target = poses(3, 21)
    visible = torch.ones(3, 21, dtype=torch.bool)
    visible[1, 2:] = False
    assert pa_mpjpe(pred, target, visible).isnan()
    assert pa_mpjpe(pred[[0, 2]], target[[0, 2]], visible[[0, 2]]).isfinite()
    visible[1] = False  # a pose without visible joints has no score
    torch.testing.assert_close(
        pa_mpjpe(pred, target, visible), pa_mpjpe(pred[[0, 2]], target[[0, 2]])
    )


@given(seed=st.integers(0, 10**6), visible_joints=st.integers(4, 21))
def test_alignment_never_raises_the_squared_error(seed, visible_joints):
    pred, target = poses(21, seed=seed)
    visible = torch.arange(21) < visible_joints
    before = joint_errors(pred, target)[visible].square().sum()
    aligned = procrustes_align(pred, target, visible)
    assert joint_errors(aligned, target)[visible].square().sum() <= before


@pytest.mark.parametrize("metric", [joint_errors, mpjpe, pa_mpjpe, procrustes_align])
@pytest.mark.parametrize(
    ("pred", "target", "error", "match"),
    [
        (torch.zeros(2, 21, 4), torch.zeros(2, 21, 4), ValueError, r"\[\*, J, 3\], got \[2, 21, 4"),
        (torch.zeros(3), torch.zeros(3), ValueError, r"got \[3\]"),
        (torch.zeros(2, 21, 3), torch.zeros(21, 3), ValueError, r"\[2, 21, 3\].* got \[21, 3\]"),
        (torch.zeros(1, 3).long(), torch.zeros(1, 3).long(), TypeError, "got torch.int64"),
        (torch.zeros(1, 3).half(), torch.zeros(1, 3).half(), TypeError, "got torch.float16"),
        (torch.zeros(1, 3), torch.zeros(1, 3).double(), TypeError, "got torch.float64"),
        ([[0.0, 0.0, 0.0]], torch.zeros(1, 3), TypeError, "pred as torch.Tensor, got list"),
        (torch.zeros(1, 3), [[0.0, 0.0, 0.0]], TypeError, "target as torch.Tensor, got list"),
        (torch.zeros(1, 3, device="meta"), torch.zeros(1, 3), ValueError, "on meta"),
    ],
)
def test_wrong_poses(metric, pred, target, error, match):
    with pytest.raises(error, match=match):
        metric(pred, target)


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe, procrustes_align])
@pytest.mark.parametrize(
    ("visible", "error", "match"),
    [
        (torch.ones(2, 21), TypeError, "visible as torch.bool, got torch.float32"),
        (torch.ones(21, dtype=torch.bool), ValueError, r"\[2, 21\], got \[21\]"),
        (torch.ones(2, 21, 1, dtype=torch.bool), ValueError, r"got \[2, 21, 1\]"),
        (torch.ones((), dtype=torch.bool), ValueError, r"got \[\]"),
        ([True], TypeError, "visible as torch.Tensor, got list"),
    ],
)
def test_wrong_visible(metric, visible, error, match):
    with pytest.raises(error, match=match):
        metric(torch.zeros(2, 21, 3), torch.zeros(2, 21, 3), visible)


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe])
def test_unknown_average(metric):
    pred, target = poses(2, 21)
    with pytest.raises(ValueError, match="one of pooled, joint, got 'macro'"):
        metric(pred, target, average="macro")


def test_box_is_around_visible_joints():
    points = torch.tensor([[0.0, 0.0], [3.0, 8.0], [100.0, torch.nan]])
    visible = torch.tensor([True, True, False])
    assert box_size(points, visible).item() == 8
    assert box_size(points.expand(2, 3, 2), visible.expand(2, 3)).tolist() == [8, 8]
    assert box_size(points).isnan()
    assert box_size(points, torch.zeros(3, dtype=torch.bool)).isnan()
