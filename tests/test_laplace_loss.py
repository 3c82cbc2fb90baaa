from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Laplace
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.losses import laplace_loss
from handgraph.nn import SubgraphMask
from handgraph.testing import assert_compiles

RAGGED = RemovalSets(HAND, {"nothing": [], "palm": ["wrist", "MCP"], "tip": "index_tip"})


def draw(lead=(2,), scales=3):
    pose, target = 3 * torch.randn(2, *lead, 21, 3, dtype=torch.float64)
    return pose, target, torch.randn(*lead, 21, scales, dtype=torch.float64)


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("scales", [1, 3], ids=["shared", "each"])
def test_is_the_log_probability_of_torch(lead, scales):
    pose, target, log_scale = draw(lead, scales)
    nll = -Laplace(pose, log_scale.exp().expand_as(pose)).log_prob(target)
    expected = nll.reshape(-1, 63).sum(dim=-1).mean()
    assert_close(laplace_loss(pose, target, log_scale), expected)


def test_of_one_joint_by_hand():
    pose, target = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.5]])
    log_scale = torch.tensor([[2.0, 1.0]]).log()
    expected = (2 / 2 + math.log(2 * 2)) + (0.5 / 1 + math.log(2 * 1))
    assert laplace_loss(pose, target, log_scale).item() == pytest.approx(expected)


def test_the_best_scale_is_the_mean_error():
    errors = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64).reshape(3, 1, 1)
    log_scale = torch.tensor(3.0, dtype=torch.float64).log().requires_grad_()
    laplace_loss(errors, torch.zeros_like(errors), log_scale.expand(3, 1, 1)).backward()
    assert log_scale.grad.item() == pytest.approx(0, abs=1e-12)
    for other in (2.9, 3.1):
        worse = torch.full_like(errors, other).log()
        best = torch.full_like(errors, 3.0).log()
        zero = torch.zeros_like(errors)
        assert laplace_loss(errors, zero, worse) > laplace_loss(errors, zero, best)


@pytest.mark.parametrize("scales", [1, 3], ids=["shared", "each"])
def test_masked_joints_do_not_count(scales):
    pose, target, log_scale = draw(scales=scales)
    mask = torch.rand(2, 21) < 0.5
    nll = -Laplace(pose, log_scale.exp().expand_as(pose)).log_prob(target)
    expected = nll[mask].sum() / 2
    for tensor, poison in ((pose, math.nan), (target, math.inf), (log_scale, math.nan)):
        tensor[~mask] = poison
    pose.requires_grad_()
    log_scale.requires_grad_()
    loss = laplace_loss(pose, target, log_scale, mask=mask)
    loss.backward()
    assert_close(loss, expected)
    for leaf in (pose, log_scale):
        assert (leaf.grad[~mask] == 0).all()
        assert (leaf.grad[mask] != 0).all()


@pytest.mark.parametrize("which", range(3), ids=["pose", "target", "log_scale"])
def test_nan_of_a_scored_joint_gives_a_nan_loss(which):
    inputs = draw()
    inputs[which][1, 4, 2] = torch.nan
    assert laplace_loss(*inputs).isnan()


@pytest.mark.parametrize("log_scale", [-70.0, -30.0, 0.0, 30.0, 70.0])
@pytest.mark.parametrize("error", [0.0, 1e-3, 1000.0])
def test_promised_range_is_exact_in_float32(log_scale, error):
    pose = torch.full((4, 21, 3), error, requires_grad=True)
    scale = torch.full((4, 21, 3), log_scale, requires_grad=True)
    loss = laplace_loss(pose, torch.zeros(4, 21, 3), scale)
    expected = 63 * (error * math.exp(-log_scale) + log_scale + math.log(2))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert pose.grad.isfinite().all()
    assert scale.grad.isfinite().all()


def test_branches_are_scored_on_their_kept_joints():
    _, target, _ = draw()
    partial = torch.randn(2, 3, 21, 3, dtype=torch.float64)
    log_scale = torch.randn(2, 3, 21, 1, dtype=torch.float64)
    mask = RAGGED.node_mask.expand(2, 3, 21)
    loss = laplace_loss(partial, SubgraphMask(RAGGED)(target), log_scale, mask=mask)
    total = 0.0
    for b in range(2):
        for n in range(3):
            joints = RAGGED.keep_mask[n].nonzero().flatten()
            nodes = slice(0, len(joints))
            branch = Laplace(partial[b, n, nodes], log_scale[b, n, nodes].exp().expand(-1, 3))
            total -= branch.log_prob(target[b, joints]).sum().item()
    assert loss.item() == pytest.approx(total / 6)


@pytest.mark.parametrize("scales", [1, 3], ids=["shared", "each"])
def test_gradcheck(scales):
    pose, target, log_scale = draw((2,), scales)
    inputs = [t[:, :3].clone().requires_grad_() for t in (pose, target, log_scale)]
    assert gradcheck(laplace_loss, inputs)


def test_compiled_equals_eager_and_keeps_the_dtype():
    pose, target, log_scale = draw()
    assert_compiles(laplace_loss, pose, target, log_scale)
    assert laplace_loss(pose.float(), target.float(), log_scale.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("inputs", "mask", "error", "match"),
    [
        ([(2, 21, 3), (2, 21, 3), (2, 21, 2)], None, ValueError,
         r"expected log_scale \[2, 21, 3\].* or \[2, 21, 1\] .*got \[2, 21, 2\]"),
        ([(2, 21, 3), (2, 21, 3), (21, 3)], None, ValueError, r"got \[21, 3\]"),
        ([(2, 21, 3), (2, 21, 3), (1, 21, 3)], None, ValueError, r"got \[1, 21, 3\]"),
        ([(2, 21, 3), (2, 21, 3), (2, 1, 3)], None, ValueError, r"got \[2, 1, 3\]"),
        ([(2, 21, 3), (21, 3), (2, 21, 3)], None, ValueError, r"target of shape \[2, 21, 3\], got"),
        ([(3,), (3,), (3,)], None, ValueError, r"expected poses \[\*, J, C\], got \[3\]"),
        ([(2, 21, 3)] * 3, torch.ones(21, dtype=torch.bool), ValueError, r"mask of shape \[2, 21"),
        ([(2, 21, 3)] * 3, torch.ones(2, 21), TypeError, "mask as torch.bool"),
    ],
)  # fmt: skip
def test_invalid_arguments_raise(inputs, mask, error, match):
    with pytest.raises(error, match=match):
        laplace_loss(*(torch.ones(shape) for shape in inputs), mask=mask)


def test_integers_are_errors():
    pose = torch.ones(2, 21, 3)
    for k, name in enumerate(("pose", "target", "log_scale")):
        inputs = [pose.long() if i == k else pose for i in range(3)]
        with pytest.raises(TypeError, match=f"expected {name} to be floating point"):
            laplace_loss(*inputs)
