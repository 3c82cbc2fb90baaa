"""Unrolled plans compute the same function with one branch in all stages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph.nn.plan import NodeMap, Scale, Select, Shape, Stage, Term, shapes
from handgraph.nn.unroll import unroll
from tests.nn.engines.plans import evaluate, map_tensors, plans

DOUBLE = torch.float64


def flat(x):
    """Flatten all branches into the nodes of one."""
    return x.flatten(0, 1).unsqueeze(0)


def check(plan, given_):
    x = torch.randn(*given_, 3, dtype=DOUBLE)
    unrolled = unroll(plan, given_)
    one = Shape(1, given_.branches * given_.nodes, given_.channels)
    assert {shape.branches for shape in shapes(unrolled, one)} == {1}
    assert_close(evaluate(unrolled, flat(x)), flat(evaluate(plan, x)))
    return unrolled


@given(drawn=plans())
def test_values(drawn):
    check(*drawn)


@given(drawn=plans(joined=True))
def test_gradients(drawn):
    plan, size = drawn
    x = torch.randn(*size, 2, dtype=DOUBLE, requires_grad=True)
    leaves = []

    def leaf(part):
        leaves.append(part.clone().requires_grad_())
        return leaves[-1]

    plan = map_tensors(plan, leaf)
    found = [
        torch.autograd.grad(out.square().sum(), [x, *leaves], allow_unused=True)
        for out in (evaluate(plan, x), evaluate(unroll(plan, size), flat(x)))
    ]
    for expected, gradient in zip(*found, strict=True):
        if expected is None or gradient is None:  # of a stage whose output is not used
            assert expected is None or not expected.any()
            continue
        assert_close(gradient, expected)


def test_one_branch_stays_as_it_is():
    plan = (Stage((Term(0, NodeMap(torch.ones(1, 2, 3))),), torch.ones(1, 4)),)
    (stage,) = unroll(plan, Shape(1, 3, 4))
    assert stage.terms[0].node_map.matrix is plan[0].terms[0].node_map.matrix


@pytest.mark.parametrize("own", [1, 2])
def test_branch_after_branch(own):
    """The order is: stages of branch 0, stages of branch 1, stages that read both."""
    step = Stage((Term(0, weight=torch.ones(2, 3, 3)),), torch.tensor([[1.0] * 3, [2.0] * 3]))
    again = Stage((Term(1, weight=torch.ones(2, 3, 3)),), torch.tensor([[3.0] * 3, [4.0] * 3]))
    total = Stage((Term(2), Term(1)), torch.full((1, 3), 5.0))
    last = Stage((Term(3), Term(3)), torch.full((1, 3), 6.0), relu=False)
    found = unroll((step, again, total, last), Shape(own, 4, 3))
    biases = [None if s.bias is None else s.bias.flatten()[0].item() for s in found]
    reads = [[term.source for term in stage.terms] for stage in found]
    if own == 1:
        assert biases == [1, 3, 2, 4, 5, 6]
        assert reads == [[0], [1], [0], [3], [2, 1, 4, 3], [5, 5]]
    else:  # the branches of the input are gathered first
        assert biases == [None, 1, 3, None, 2, 4, 5, 6]
        assert reads == [[0], [1], [2], [0], [4], [5], [3, 2, 6, 5], [7, 7]]


def test_a_single_branch_counts_for_each_in_a_sum():
    """A sum over branches adds a single branch once per branch, as in a sum over all terms."""
    ones = torch.ones(1, 1, 1, 1, dtype=DOUBLE)
    branches = Stage((Term(0, weight=torch.ones(3, 1, 1, dtype=DOUBLE)),), relu=False)
    total = Stage((Term(1), Term(0)), torch.zeros(1, 1, dtype=DOUBLE))
    plan = unroll((branches, total), Shape(1, 1, 1))
    assert evaluate(plan, ones).item() == 6


def test_unused_stages_are_removed():
    unread = Stage((Term(0),), torch.ones(2, 3))
    last = Stage((Term(0),), torch.ones(2, 3), relu=False)
    assert len(unroll((unread, last), Shape(1, 2, 3))) == 3  # and the two side by side


def test_nodes_that_are_not_selected_have_no_influence():
    index = torch.tensor([[0, -1], [1, 0]])
    select = Stage((Term(0, Select(index, 3)),), relu=False)
    total = Stage((Term(1),), torch.zeros(1, 1), relu=False)
    x = torch.tensor([1.0, 2.0, torch.nan]).view(1, 3, 1, 1)
    assert evaluate(unroll((select, total), Shape(1, 3, 1)), x).flatten().tolist() == [3, 1]


@given(own=st.booleans())
def test_scales(own):
    def scaled(source, branches):
        return Term(source, Scale(torch.rand(branches, 2, 4, dtype=DOUBLE)))

    first = Stage((scaled(0, 3),), torch.ones(3, 5, dtype=DOUBLE))
    total = Stage((Term(1), scaled(1, 1)), torch.ones(1, 5, dtype=DOUBLE))
    x = torch.randn(3 if own else 1, 2, 5, 4, dtype=DOUBLE)
    plan = first, total
    found = evaluate(unroll(plan, Shape(*x.shape[:3])), flat(x))
    assert_close(found, evaluate(plan, x))
