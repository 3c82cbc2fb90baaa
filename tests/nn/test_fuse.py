"""Fusing, joining and densifying plans does not change their function."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from handgraph.nn.dense import dense
from handgraph.nn.fuse import fuse, join
from handgraph.nn.plan import Graph, NodeMap, Scale, Select, Shape, Stage, Term, shapes
from tests.nn.engines.unfused import evaluate, leaves, two_plans, unfused_plans

CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def assert_same(plan, x, expected, out):
    """Check that values and gradients are equal."""
    assert_close(out, expected, **CLOSE)
    wanted, grad = [x, *leaves(plan)], torch.randn(expected.shape, dtype=x.dtype)
    found, others = (
        torch.autograd.grad(y, wanted, grad, allow_unused=True, materialize_grads=True)
        for y in (out, expected)
    )
    assert_close(found, others, **CLOSE)


@settings(max_examples=100)
@given(unfused_plans(batches=[3]))
def test_fuse(case):
    plan, x = case
    fused = fuse(plan)
    maps = {term.node_map for stage in fused for term in stage.terms} - {None}
    assert all(isinstance(one, Scale | Select) or one.bias is None for one in maps)
    assert_same(plan, x, evaluate(plan, x), evaluate(fused, x))
    given_shape = Shape(*x.shape[:3])
    assert shapes(fused, given_shape)[-1] == shapes(plan, given_shape)[-1]


def _selects(term):
    return isinstance(term.node_map, Select)


@settings(max_examples=100)
@given(unfused_plans(batches=[3], scales=False))
def test_dense(case):
    plan, x = case
    rows, given_shape = x.flatten(1, 2).unsqueeze(2), Shape(*x.shape[:3])
    if any(t.weight is not None and _selects(t) for stage in plan for t in stage.terms):
        with pytest.raises(ValueError, match="^dense: expected terms that select nodes without"):
            dense(plan, given_shape)
        return
    made = dense(plan, given_shape)
    assert all(term.weight is None for stage in made for term in stage.terms)
    expected = evaluate(plan, x)
    assert_same(plan, x, expected.flatten(1, 2).unsqueeze(2), evaluate(made, rows))


@settings(max_examples=100)
@given(two_plans())
def test_join(case):
    first, then, x = case
    expected = evaluate(then, evaluate(first, x))
    assert_same((*first, *then), x, expected, evaluate(fuse(join(first, then)), x))


def test_linear_stages_are_absorbed():
    double, one = NodeMap(2 * torch.eye(3)[None], torch.ones(1, 3, 1)), torch.ones(1, 1, 2)
    first = (Stage((Term(0, double, torch.ones(1, 2, 1)),), torch.ones(1, 2), relu=False),)
    then = (Stage((Term(0, double, one),), relu=True),)
    (stage,) = fuse(join(first, then))
    assert stage.relu
    assert len(stage.terms) == 1
    x = torch.rand(1, 3, 1, 5)
    assert_close(evaluate((stage,), x), evaluate(then, evaluate(first, x)))


def test_sums_over_branches_are_absorbed_only_if_nothing_else_has_branches():
    """The second stage sums over branches: the third must not add its bias or a branch again."""
    ones, row = torch.ones(3, 1, 1), torch.ones(1, 1)
    split = Stage((Term(0, weight=ones),))
    total = Stage((Term(1, weight=2 * ones),), row, relu=False)
    after = {
        "alone": (Stage((Term(2, weight=ones[:1]),), row), 2),
        "with branches": (Stage((Term(2), Term(1)), row), 3),
        "with a bias for each branch": (Stage((Term(2),), torch.rand(3, 1)), 3),
        "with a weight for each branch": (Stage((Term(2, weight=ones),), row), 3),
    }
    x = torch.rand(1, 2, 1, 5)
    for name, (last, stages) in after.items():
        plan = (split, total, last)
        assert_close(evaluate(fuse(plan), x), evaluate(plan, x), msg=name)
        assert len(fuse(plan)) == stages, name


def test_each_graph_is_normalised_once():
    graph = Graph(torch.rand(1, 3, 3), "abs")
    terms = (Term(0, graph), Term(0, graph))
    (stage,) = fuse((Stage(terms),))
    first, second = (term.node_map.matrix for term in stage.terms)
    assert first is second


def test_scales_have_no_dense_form():
    plan = (Stage((Term(0, Scale(torch.rand(1, 2, 5))),)),)
    with pytest.raises(ValueError, match="^dense: expected terms that do not scale nodes"):
        dense(plan, Shape(1, 2, 3))
