"""The output head per joint, and the lifter with removal sets that follow the image."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, Skeleton
from handgraph.nn import AdaptiveGraphUNet, JointHead, VisibilityLifter
from handgraph.testing import assert_compiles


def head(**options):
    torch.manual_seed(0)
    return JointHead(AdaptiveGraphUNet(2, 8, HAND, **options), 2, 8, 3, HAND)


class GivenVisibility(nn.Module):
    """Estimator that returns the last channel as logits of visibility."""

    def forward(self, x):
        return x[..., -1:]


def lifter(**options):
    torch.manual_seed(0)
    return VisibilityLifter(GivenVisibility(), AdaptiveGraphUNet(2, 3, HAND), HAND, **options)


def test_head_is_a_layer_for_each_joint():
    net, x = head(), torch.randn(5, 21, 2)
    hidden, out = net.net(x), net(x)
    for j in range(21):
        both = torch.cat([hidden[:, j], x[:, j]], dim=-1)
        assert_close(out[:, j], nn.functional.linear(both, net.lin.weight[j], net.lin.bias[j]))


def test_head_sees_no_hidden_joint():
    net, x = head(), torch.randn(5, 21, 2, requires_grad=True)
    mask = torch.rand(5, 21, generator=torch.Generator().manual_seed(0)) < 0.6
    out = net(x, mask)
    out.square().sum().backward()
    assert x.grad[~mask].eq(0).all()
    assert out[~mask].eq(0).all()
    poisoned = x.detach().where(mask.unsqueeze(-1), torch.nan)
    again = net(poisoned, mask)
    assert torch.equal(again, out)
    net.zero_grad()
    again.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_head_with_a_full_mask_equals_the_head_without_mask():
    net, x = head(), torch.randn(2, 5, 21, 2)
    assert_close(net(x, torch.ones(2, 5, 21, dtype=torch.bool)), net(x))


def test_head_starts_anew():
    net, x = head(), torch.randn(5, 21, 2)
    before = net(x)
    net.reset_parameters()
    assert not torch.allclose(net(x), before)


def by_hand(net, x, logit):
    """Compute one sample and one joint at a time."""
    pose = torch.zeros(len(x), 21, 3)
    for b in range(len(x)):
        masks = [(logit[b].sigmoid() > level) for level in net.levels]
        for mask in masks:
            mask[HAND.index("wrist")] = True
        said = [net.lifter(x[b], mask) for mask in masks]
        everything = net.lifter(x[b])
        for j in range(21):
            kept = [y[j] for y, mask in zip(said, masks, strict=True) if mask[j]]
            pose[b, j] = sum(kept) / len(kept) if kept else everything[j]
    return pose


def test_draws_equal_a_manual_computation():
    net, x, logit = lifter(num_draws=4), torch.randn(6, 21, 2), 3 * torch.randn(6, 21, 1)
    with torch.no_grad():
        assert_close(net(x, logit), by_hand(net, x, logit.squeeze(-1)), rtol=1e-4, atol=1e-5)


def test_a_joint_that_is_surely_hidden_has_no_influence_on_the_others():
    net, x, logit = lifter(), torch.randn(6, 21, 2), torch.full((6, 21, 1), 50.0)
    tips = HAND.select("TIP")
    others = [j for j in range(21) if j not in tips]
    logit[:, tips] = -50
    x.requires_grad_()
    net(x, logit)[:, others].square().sum().backward()
    assert x.grad[:, tips].eq(0).all()
    assert x.grad[:, others].ne(0).any()


def test_surely_visible_is_the_lifter_alone():
    net, x = lifter(), torch.randn(6, 21, 2)
    assert_close(net(x, torch.full((6, 21, 1), 50.0)), net.lifter(x))


def test_same_input_same_pose_and_alone_as_in_a_batch():
    net, x, logit = lifter(), torch.randn(2, 3, 21, 2), torch.randn(2, 3, 21, 1)
    out = net(x, logit)
    assert torch.equal(net(x, logit), out)
    assert_close(net(x[1, 2], logit[1, 2]), out[1, 2])


def test_training_draws_by_probability_and_keeps_the_root():
    net, logit = lifter(), torch.full((20_000, 21), 1.0, requires_grad=True)
    mask = net.draw(logit, torch.Generator().manual_seed(0))
    assert mask.dtype == torch.bool
    kept = mask.double().mean(dim=0)
    assert kept[HAND.index("wrist")] == 1
    assert kept[1:].numpy() == pytest.approx(1 / (1 + 1 / torch.e), abs=0.014)


def test_levels_are_saved_with_the_weights():
    net = lifter(generator=torch.Generator().manual_seed(1))
    other = lifter(generator=torch.Generator().manual_seed(2))
    assert not torch.equal(net.levels, other.levels)
    other.load_state_dict(net.state_dict())
    x, logit = torch.randn(3, 21, 2), torch.randn(3, 21, 1)
    for twin in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x, logit), net(x, logit))


def test_skeleton_without_root_has_no_joint_that_is_always_kept():
    skeleton = Skeleton.edgeless(4)
    net = VisibilityLifter(GivenVisibility(), AdaptiveGraphUNet(2, 3, skeleton), skeleton)
    assert not net.draw(torch.full((3, 4), -50.0)).any()


def test_nan_in_nan_out():
    net = VisibilityLifter(AdaptiveGraphUNet(3, 1, HAND), AdaptiveGraphUNet(2, 3, HAND), HAND)
    x = torch.rand(2, 21, 2)
    x[0, 5] = torch.nan
    out = net(x, torch.rand(2, 21, 1))
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


@pytest.mark.slow
def test_it_compiles():
    assert_compiles(lifter(), torch.randn(4, 21, 2), torch.randn(4, 21, 1))


def test_unknown_joints_and_no_draws_are_refused():
    with pytest.raises(ValueError, match="wist"):
        lifter(keep="wist")
    with pytest.raises(ValueError, match="num_draws to be at least 1, got 0"):
        lifter(num_draws=0)


@pytest.mark.parametrize("name", ["x", "score"])
def test_another_number_of_joints_is_an_error(name):
    net = AdaptiveGraphUNet(3, 1, HAND)
    lifter = VisibilityLifter(net, AdaptiveGraphUNet(2, 3, HAND), HAND)
    given = {"x": torch.rand(4, 21, 2), "score": torch.rand(4, 21, 1)}
    given[name] = given[name][:, :20]
    with pytest.raises(
        ValueError, match=rf"^{name} of .*: expected \[\*, 21, C\] for the 21 joints of"
    ):
        lifter(**given)


def test_nan_score_gives_a_nan_pose():
    net = AdaptiveGraphUNet(3, 1, HAND)
    lifter = VisibilityLifter(net, AdaptiveGraphUNet(2, 3, HAND), HAND)
    score = torch.rand(4, 21, 1)
    score[2, 5] = torch.nan
    out = lifter(torch.rand(4, 21, 2), score)
    assert out.isnan().flatten(1).all(dim=1).tolist() == [False, False, True, False]
    assert not out[[0, 1, 3]].isnan().any()
