"""The reference engine runs any plan."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close

from handgraph.nn.engines import reference
from handgraph.nn.engines.forms import PlanBuffers
from handgraph.nn.fuse import fuse
from handgraph.nn.plan import Graph, NodeMap, Scale, Select, Shape, Stage, Term
from tests.nn.engines.unfused import evaluate, leaves, unfused_plans

CLOSE = {"rtol": 1e-8, "atol": 1e-8}
FORM, RUN = (import_module(f"handgraph.nn.engines.reference.{name}") for name in ("form", "run"))


def gradients(out, wanted, grad):
    """Return the gradients, with zeros for missing ones."""
    if not out.requires_grad:
        return [torch.zeros_like(leaf) for leaf in wanted]
    return torch.autograd.grad(out, wanted, grad, allow_unused=True, materialize_grads=True)


@settings(max_examples=150)
@given(unfused_plans(), st.booleans())
def test_values_and_gradients(case, are_many):
    plan, x = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RUN, "MANY", -1 if are_many else 2**40)
        check_values_and_gradients(plan, x)


def check_values_and_gradients(plan, x):
    expected, out = evaluate(plan, x), reference.run(plan, x)
    assert_close(out, expected, **CLOSE)
    wanted = [x, *leaves(plan)]
    before = [leaf.detach().clone() for leaf in wanted]
    grad = torch.randn(expected.shape, dtype=x.dtype)
    given_grad = grad.clone()
    assert_close(gradients(out, wanted, given_grad), gradients(expected, wanted, grad), **CLOSE)
    with torch.no_grad():
        assert_close(reference.run(plan, x), expected, **CLOSE)
    assert torch.equal(given_grad, grad)  # no input is modified
    assert all(map(torch.equal, wanted, before))


@settings(max_examples=40)
@given(unfused_plans(batches=[3, 40]), st.integers(0, 99))
def test_gradients_of_some(case, seed):
    """Tensors that need no gradient get none, and the gradients of the others are unchanged."""
    plan, x = case
    everything = [x, *leaves(plan)]
    grad = torch.randn(evaluate(plan, x).shape, dtype=x.dtype)
    expected = gradients(evaluate(plan, x), everything, grad)
    chosen = torch.rand(len(everything), generator=torch.Generator().manual_seed(seed)) < 0.5
    for leaf, wants in zip(everything, chosen.tolist(), strict=True):
        leaf.requires_grad_(wants)
    out = reference.run(plan, x)
    assert out.requires_grad <= bool(chosen.any())
    wanted = [n for n, wants in enumerate(chosen.tolist()) if wants]
    found = gradients(out, [everything[n] for n in wanted], grad)
    assert_close(found, [expected[n] for n in wanted], **CLOSE)


@settings(max_examples=40)
@given(unfused_plans(batches=[0, 1, 7, 40]))
def test_blocks(case):
    """Samples are run in blocks together with their factors."""
    plan, x = case
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(RUN, "BLOCK", 6)
        assert_close(reference.run(plan, x), evaluate(plan, x), **CLOSE)


@settings(max_examples=60)
@given(unfused_plans(scales=False), st.booleans())
def test_form(case, dense):
    """A prepared plan, dense or not, has input gradients and does not change its buffers."""
    plan, x = case
    form = reference.prepare(fuse(plan), Shape(*x.shape[:3]))
    before = {name: buffer.clone() for name, buffer in form.named_buffers()}
    expected = evaluate(plan, x)
    grad = torch.randn(expected.shape, dtype=x.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FORM, "DENSE_WORK", 2**40 if dense else -1)
        out = form.run(x)
        assert_close(out, expected, **CLOSE)
        assert_close(gradients(out, [x], grad), gradients(expected, [x], grad), **CLOSE)
        with torch.no_grad():
            assert_close(form.run(x), expected, **CLOSE)
    assert all(torch.equal(buffer, before[name]) for name, buffer in form.named_buffers())


@given(unfused_plans())
def test_plan_buffers(case):
    """The buffers of a prepared plan restore the same plan."""
    plan, x = case
    assert_close(evaluate(PlanBuffers(plan).plan(), x), evaluate(plan, x), **CLOSE)


def small():
    """Return a plan of two branches with all features, smooth at its input, and that input."""
    torch.manual_seed(3)

    def leaf(*size):
        return torch.rand(*size, dtype=torch.float64).requires_grad_()

    graph, pool = Graph(leaf(2, 2, 2), "abs"), NodeMap(leaf(1, 2, 3), leaf(1, 2, 1))
    chosen, scale = Select(torch.tensor([[0, 2, -1], [1, -1, 0]]), 3), Scale(leaf(2, 2, 2))
    plan = (
        Stage((Term(0, chosen),), relu=False),
        Stage((Term(1, pool),), relu=False),
        Stage((Term(2, graph, leaf(2, 3, 2)),), leaf(2, 3)),
        Stage((Term(3, scale), Term(3, graph)), leaf(2, 1, 3)),
        Stage(
            (Term(3, None, leaf(2, 2, 3)), Term(4, graph, leaf(1, 2, 3))), leaf(1, 2), relu=False
        ),
    )
    return plan, leaf(1, 3, 2, 2)


def test_second_derivatives():
    plan, x = small()
    wanted = (x, *leaves(plan))
    with torch.no_grad():
        assert_close(reference.run(plan, x), evaluate(plan, x), **CLOSE)
    assert gradcheck(lambda *_: reference.run(plan, x), wanted)
    assert gradgradcheck(lambda *_: reference.run(plan, x), wanted)


def test_batched_gradients():
    plan, x = small()
    wanted, out = [x, *leaves(plan)], reference.run(plan, x)
    grads = torch.randn(5, *out.shape, dtype=x.dtype)
    found = torch.autograd.grad(out, wanted, grads, retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(out, wanted, grad, retain_graph=True) for grad in grads]
    assert_close(list(found), [torch.stack(parts) for parts in zip(*each, strict=True)], **CLOSE)


def test_saved_tensors_may_be_moved():
    """Saved tensors may return as other objects, as with ``save_on_cpu``."""
    plan, x = small()
    wanted, grad = [x, *leaves(plan)], torch.rand(1, 2, 2, 2, dtype=x.dtype)
    with saved_tensors_hooks(torch.clone, torch.clone):
        out = reference.run(plan, x)
    assert_close(
        torch.autograd.grad(out, wanted, grad),
        torch.autograd.grad(evaluate(plan, x), wanted, grad),
        **CLOSE,
    )


def test_changed_tensors_are_errors():
    plan, x = small()
    out = reference.run(plan, x).sum()
    with torch.no_grad():
        plan[1].terms[0].node_map.matrix.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


@pytest.mark.parametrize("batch", [2, 40])
def test_transforms(batch):
    """Forward mode and vmap over batches."""
    plan, _ = small()
    *first, third, last = plan
    plan = *first, third._replace(terms=third.terms[1:]), last  # without factors for samples
    x, tangent = torch.rand(2, 1, 3, 2, batch, dtype=torch.float64)
    expected = torch.func.jvp(lambda x: evaluate(plan, x), (x,), (tangent,))
    assert_close(torch.func.jvp(lambda x: reference.run(plan, x), (x,), (tangent,)), expected)
    xs = torch.stack([x, tangent])
    expected = torch.stack([evaluate(plan, x) for x in xs])
    assert_close(torch.func.vmap(lambda x: reference.run(plan, x))(xs), expected, **CLOSE)


@pytest.mark.parametrize("dense", [None, False, True])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_stages_without_maps(batch, dense):
    """Stages do not write to their inputs."""
    plan = (
        Stage((Term(0),), torch.ones(1, 2, dtype=torch.float64)),
        Stage((Term(1),)),
        Stage((Term(0), Term(0), Term(2)), relu=False),
    )
    x = torch.randn(1, 3, 2, batch, dtype=torch.float64)
    before, expected = x.clone(), evaluate(plan, x)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(FORM, "DENSE_WORK", 2**40 if dense else -1)
        form = reference.prepare(fuse(plan), Shape(1, 3, 2))
        out = reference.run(plan, x) if dense is None else form.run(x)
    assert_close(out, expected, **CLOSE)
    assert torch.equal(x, before)


def test_tensors_that_depend_on_each_other():
    """For example, scales of samples depend on an adjacency."""
    weight = torch.rand(1, 2, 2, dtype=torch.float64, requires_grad=True)
    x = torch.rand(1, 2, 2, 3, dtype=torch.float64)

    def stage(run, weight):
        scale = weight.sum(2, keepdim=True).expand(1, 2, 3).square()
        return run((Stage((Term(0, None, weight),)), Stage((Term(1, Scale(scale)),))), x)

    assert gradgradcheck(lambda weight: stage(reference.run, weight), (weight,))


def test_nodes_that_are_not_selected_have_no_influence():
    chosen = Select(torch.tensor([[0, 2, -1]]), 3)
    plan = (Stage((Term(0, chosen, torch.ones(1, 1, 2)),), relu=False),)
    x = torch.ones(1, 3, 2, 1)
    x[:, 1] = torch.nan
    x.requires_grad_()
    out = reference.run(plan, x)
    assert out.flatten().tolist() == [2, 2, 0]
    out.sum().backward()
    assert x.grad[0, :, 0, 0].tolist() == [1, 0, 1]
