from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph import COCO, HAND, INTERHAND, RHD, RemovalSets, Skeleton
from handgraph.nn import Hypotheses, SubgraphMask
from handgraph.testing import assert_compiles, assert_no_leak, assert_relabelling

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(
    HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"], "nothing": ()}
)
BODY = RemovalSets(COCO, {"left": "left_arm", "head": "head", "legs": ["left_leg", "right_leg"]})
SETS = [LEVELS, RAGGED, BODY, RemovalSets.by_level(INTERHAND), RemovalSets.none(HAND, 2)]


def kept_joints(removal):
    """Return the names of the joints of every branch."""
    masks = removal.keep_mask.tolist()
    return [[j for j, m in zip(removal.skeleton.joints, mask, strict=True) if m] for mask in masks]


def slow_scatter(removal, y, reduce):
    """Scatter one joint and one sample at a time."""
    samples = []
    for sample in y.reshape(-1, *y.shape[-3:]):
        rows = []
        for joint in removal.skeleton.joints:
            said = [
                sample[n, k.index(joint)] for n, k in enumerate(kept_joints(removal)) if joint in k
            ]
            stack = torch.stack(said)
            rows.append(getattr(stack, f"a{reduce}" if reduce in ("min", "max") else reduce)(dim=0))
        samples.append(torch.stack(rows))
    return torch.stack(samples).reshape(*y.shape[:-3], len(removal.skeleton.joints), y.shape[-1])


# The gather


@pytest.mark.parametrize("removal", SETS)
def test_gather_takes_the_kept_joints_by_name(removal):
    x = torch.randn(3, removal.skeleton.num_joints, 2)
    y = SubgraphMask(removal)(x)
    assert y.shape == (3, len(removal), removal.num_nodes, 2)
    for n, joints in enumerate(kept_joints(removal)):
        for k, joint in enumerate(joints):
            assert torch.equal(y[:, n, k], x[:, removal.skeleton.index(joint)])
        assert (y[:, n, len(joints) :] == 0).all()


@pytest.mark.parametrize("removal", [*SETS, RemovalSets.by_finger(HAND), RemovalSets.by_level(RHD)])
def test_removed_joints_have_no_influence(removal):
    split = SubgraphMask(removal)
    assert_no_leak(lambda x: split(x).sin(), removal, in_channels=2)


def test_padding_stays_zero_even_if_everything_is_nan():
    y = SubgraphMask(RAGGED)(torch.full((1, 21, 2), torch.nan))
    assert torch.equal(y.isnan().any(dim=-1)[0], RAGGED.node_mask)


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("removal", [LEVELS, RAGGED])
def test_any_leading_dimensions(removal, lead):
    split = SubgraphMask(removal)
    x = torch.randn(*lead, 21, 2, requires_grad=True)
    y = split(x)
    assert y.shape == (*lead, 4, removal.num_nodes, 2)
    assert split.scatter(y).shape == (*lead, 21, 2)
    assert_close(split.scatter(y), x)
    split.scatter(y).sum().backward()
    assert_close(x.grad, torch.ones_like(x))


def test_dtype_is_kept():
    split = SubgraphMask(RAGGED)
    for dtype in (torch.float64, torch.bfloat16):
        y = split(torch.ones(2, 21, 1, dtype=dtype))
        assert y.dtype == split.scatter(y).dtype == dtype
    assert split(torch.ones(21, 1, dtype=torch.bool)).dtype == torch.bool


def test_strides_do_not_matter():
    split = SubgraphMask(RAGGED)
    x = torch.randn(2, 21, 6).permute(2, 1, 0)
    y = split(x)
    assert torch.equal(y, split(x.contiguous()))
    strided = torch.randn(2, 21, 4, 6).permute(3, 2, 1, 0)
    assert_close(split.scatter(strided), split.scatter(strided.contiguous()))


# The scatter


@pytest.mark.parametrize("reduce", ["mean", "sum", "min", "max"])
@pytest.mark.parametrize("removal", SETS)
def test_scatter_meets_loops(removal, reduce):
    y = torch.randn(3, len(removal), removal.num_nodes, 2)
    ours = SubgraphMask(removal).scatter(y, reduce)
    assert_close(ours, slow_scatter(removal, y, reduce))


@settings(max_examples=40)
@given(st.data(), st.integers(1, 7), st.integers(1, 4))
def test_scatter_of_any_sets_meets_loops_and_inverts_the_gather(data, joints, sets):
    row = st.lists(st.booleans(), min_size=joints, max_size=joints).filter(any)
    masks = torch.tensor(data.draw(st.lists(row, min_size=sets, max_size=sets)))
    masks[0] |= ~masks.any(dim=0)
    removal = RemovalSets.from_keep_masks(Skeleton.edgeless(joints), masks)
    split = SubgraphMask(removal)
    x = torch.randn(2, joints, 2)
    assert_close(split.scatter(split(x)), x)
    once = split.count == 1
    assert torch.equal(split.scatter(split(x))[:, once], x[:, once])
    y = torch.randn(2, sets, removal.num_nodes, 2)
    assert_close(split.scatter(y), slow_scatter(removal, y, "mean"))


def test_scatter_inverts_the_gather_exactly_where_there_is_one_hypothesis():
    halves = RemovalSets(HAND, {"a": ["thumb", "index"], "b": ["wrist", "middle", "ring", "pinky"]})
    split = SubgraphMask(halves)
    assert (split.count == 1).all()
    x = torch.randn(5, 21, 3)
    assert torch.equal(split.scatter(split(x)), x)
    y = torch.randn(5, 2, halves.num_nodes, 3)
    assert torch.equal(split(split.scatter(y)), y.where(halves.node_mask.unsqueeze(-1), 0))


def test_count_is_the_number_of_branches_with_a_hypothesis():
    split = SubgraphMask(LEVELS)
    assert split.count.tolist() == [4] + [3] * 20
    ones = torch.ones(4, 16, 1)
    assert torch.equal(split.scatter(ones, "sum").flatten(), split.count.float())


def test_padding_is_left_out_of_the_scatter():
    y = torch.ones(2, 4, 21, 1)
    poisoned = y.masked_fill(~RAGGED.node_mask.unsqueeze(-1), torch.nan).requires_grad_()
    x = SubgraphMask(RAGGED).scatter(poisoned)
    assert (x == 1).all()
    x.sum().backward()
    assert (poisoned.grad[:, ~RAGGED.node_mask] == 0).all()


def test_nan_of_a_hypothesis_reaches_only_its_joint():
    y = torch.ones(4, 16, 1)
    y[2, 0] = torch.nan
    x = SubgraphMask(LEVELS).scatter(y)
    assert x.isnan().flatten().nonzero().flatten().tolist() == [HAND.index("wrist")]


@pytest.mark.parametrize("reduce", ["mean", "sum", "min", "max"])
def test_gradcheck(reduce):
    removal = RemovalSets(Skeleton.edgeless(3), {"a": "node_0", "b": ["node_1", "node_2"]})
    split = SubgraphMask(removal)
    x = torch.randn(2, 3, 1, dtype=torch.float64, requires_grad=True)
    assert gradcheck(split, (x,))
    y = torch.randn(2, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda y: split.scatter(y, reduce), (y,))


def test_gather_and_scatter_match_joints_by_name():
    def layer(x, skeleton):
        split = SubgraphMask(RemovalSets.by_level(skeleton))
        y = split(x)
        return split.scatter(y * torch.arange(1.0, 5).reshape(4, 1, 1))

    assert_relabelling(layer, HAND, in_channels=2)


# The list of hypotheses


@pytest.mark.parametrize("removal", [LEVELS, RAGGED])
def test_hypotheses_are_sorted_by_joint_then_branch(removal):
    y = torch.randn(3, len(removal), removal.num_nodes, 2)
    rows, joints = [], []
    for j, joint in enumerate(removal.skeleton.joints):
        for n, kept in enumerate(kept_joints(removal)):
            if joint in kept:
                rows.append(y[:, n, kept.index(joint)])
                joints.append(j)
    hypotheses = Hypotheses(removal)
    assert torch.equal(hypotheses(y), torch.stack(rows))
    assert hypotheses.joint.tolist() == joints


@pytest.mark.parametrize("lead", [(), (0,), (2, 3)])
def test_hypotheses_are_scattered_to_their_nodes(lead):
    hypotheses = Hypotheses(RAGGED)
    y = torch.randn(*lead, 4, 21, 2)
    listed = hypotheses(y)
    assert listed.shape == (68, y[..., 0, 0, 0].numel(), 2)
    back = hypotheses.to_nodes(listed, y)
    assert torch.equal(back, y.where(RAGGED.node_mask.unsqueeze(-1), 0))


# PyTorch features


def test_compiled_equals_eager():
    split = SubgraphMask(RAGGED)
    assert_compiles(lambda x: split.scatter(split(x).sin()), torch.randn(3, 21, 2))


def test_copies_compute_the_same():
    split, x = SubgraphMask(RAGGED), torch.randn(2, 21, 2)
    for other in (copy.deepcopy(split), pickle.loads(pickle.dumps(split))):
        assert torch.equal(other(x), split(x))
        assert torch.equal(other.scatter(other(x)), split.scatter(split(x)))
    assert list(split.state_dict()) == ["_extra_state"]


def test_buffers_follow_the_module():
    split = SubgraphMask(RAGGED).to("meta")
    assert split(torch.empty(2, 21, 2, device="meta")).device.type == "meta"
    tables = [split.kept, split.node_mask, split.count]
    tables += [split.hypotheses.index, split.hypotheses.ptr, split.hypotheses.joint]
    assert all(table.is_meta for table in tables)


# Errors


@pytest.mark.parametrize("shape", [(8, 20, 2), (21,), (21, 2, 2), ()])
def test_input_of_another_skeleton_is_an_error(shape):
    with pytest.raises(ValueError, match=r"SubgraphMask: expected \[\*, 21, C\] for the 21 "):
        SubgraphMask(LEVELS)(torch.ones(shape))


@pytest.mark.parametrize("shape", [(8, 4, 15, 2), (8, 1, 16, 2), (16, 2), (4, 16), ()])
def test_scatter_of_other_branches_is_an_error(shape):
    with pytest.raises(
        ValueError, match=r"expected \[\*, 4, 16, C\] for RemovalSets\(HAND, .* got"
    ):
        SubgraphMask(LEVELS).scatter(torch.ones(shape))


def test_unknown_reductions_are_errors():
    with pytest.raises(
        ValueError, match=r"reduce: expected 'mean', 'sum', 'min' or 'max', got 'median'"
    ):
        SubgraphMask(LEVELS).scatter(torch.ones(4, 16, 1), "median")


def test_repr_shows_the_sets():
    expected = "SubgraphMask(RemovalSets(HAND, TIP: -5, DIP: -5, PIP: -5, MCP: -5))"
    assert repr(SubgraphMask(LEVELS)) == expected
