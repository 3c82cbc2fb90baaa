"""The compiled plans: memory, FLOPs and argument checks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from handgraph import HAND, Skeleton
from handgraph.nn import engines, fold
from handgraph.nn.engines.outline import outline, restore
from handgraph.nn.folded import Folded
from handgraph.nn.mixing import samples_last
from handgraph.nn.plan import Graph, NodeMap, Scale, Select, Stage, Term
from tests.nn.nets import EXACT, LEVELS, core, pose, soft_mask, unet

numba = pytest.importorskip("numba")

ERRORS = (ValueError, TypeError, RuntimeError, IndexError, AttributeError)


def problem(graph=LEVELS, batch=3, masked=False, **options):
    """Return the input, the tensors and the code of a net's plan."""
    net = unet(graph, **options)
    x = pose(net, batch)
    gate = soft_mask(x) if masked else None
    if graph is HAND:
        x, gate = x.unsqueeze(-3), None if gate is None else gate.unsqueeze(-2)
    code, parts = outline(net.lower(gate))
    return samples_last(x, 3), [part.detach() for part in parts], list(code)


# Memory


def gradients(plan, x, parts):
    """Return the output of a compiled plan, and the gradients of the input and of its tensors."""
    leaves = [x, *parts]
    with engines.use("numba"):
        out = engines.run(plan, x.movedim(3, 0))
    return out, torch.autograd.grad(out, leaves, torch.ones_like(out))


@pytest.mark.parametrize("masked", [False, True])
def test_arguments_are_left_alone(masked):
    x, parts, code = problem(masked=masked)
    leaves = [tensor.requires_grad_() for tensor in (x, *parts)]
    before = [tensor.clone() for tensor in leaves]
    gradients(restore(code, parts), x, parts)
    assert all(map(torch.equal, leaves, before))


def test_a_branch_stays_within_its_arrays():
    """The memory after a branch contains NaN and infinity, which must not be read."""
    x, parts, code = problem()
    x[1] = torch.nan
    for part in parts:
        part[1] = torch.inf
    x, *parts = (tensor.requires_grad_() for tensor in (x, *parts))
    out, found = gradients(restore(code, parts), x, parts)
    rest = [0, 2, 3]
    assert out[:, rest].isfinite().all()
    assert all(gradient[rest].isfinite().all() for gradient in found)
    assert found[0][1].isnan().any()


# FLOPs


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


BOTH = pytest.mark.parametrize("engine", ["numba", "reference"])


@BOTH
def test_flops_are_those_by_hand(engine):
    """A multiplication counts as two FLOPs, and backward takes twice as many."""
    net = unet(Skeleton.edgeless(3), nodes=(3, 2), channels=2, bottleneck_channels=3)
    x, batch = pose(net, 5).unsqueeze(1).requires_grad_(), 5
    encoded = 3 * 3 * 2 + 3 * 2 * 2  # nodes x nodes x channels, then the channels of each node
    pooled, squeezed, expanded = 2 * 3 * 2, 2 * 2 * 3, 2 * 3 * 2
    skipped, unpooled, mixed = 3 * 2 * 3, 3 * 2 * 2 + 3 * 2 * 3, 3 * 3 * 3
    expected = 2 * batch * (encoded + pooled + squeezed + expanded + skipped + unpooled + mixed)
    with engines.use(engine):
        plan = net.lower()
        with torch.no_grad():
            assert flops(lambda: engines.run(plan, x)) == expected
        assert flops(lambda: engines.run(plan, x)) == expected
        both = flops(lambda: engines.run(plan, x).sum().backward())
        assert both == pytest.approx(3 * expected, rel=0.03)


@pytest.mark.parametrize("batch", [1, 40, 300])
@pytest.mark.parametrize("train", [False, True])
def test_flops_of_the_core_are_equal_for_engines(batch, train):
    _, branches, merge = core()
    plans = branches.lower(), merge.unet.lower()
    inputs = torch.randn(batch, 4, 16, 2).double(), torch.randn(batch, 1, 21, 16).double()

    def run():
        for plan, x in zip(plans, inputs, strict=True):
            out = engines.run(plan, x.requires_grad_(train))
            if train:
                out.sum().backward(retain_graph=True)

    counts = []
    for engine in ("numba", "reference"):
        with engines.use(engine), torch.set_grad_enabled(train):
            counts.append(flops(run))
    assert counts[0] == pytest.approx(counts[1], rel=0.02 if train else 0)


def test_flops_of_a_net_are_those_of_its_readable_form():
    """``FlopCounterMode`` registers hooks on all modules, so the readable form is counted."""
    net, x = core(), torch.randn(8, 21, 2).double()
    counts = set()
    for engine in ("numba", "reference", "readable"):
        with engines.use(engine):
            counts.add(flops(lambda: net(x)))
    assert len(counts) == 1


@BOTH
def test_flops_of_a_folded_net_are_counted(engine):
    net, x = fold(core()), torch.randn(8, 21, 2).double()
    with engines.use(engine), torch.no_grad():
        assert flops(lambda: net(x)) > 0


# Invalid arguments


def agrees(plan, x):
    """Check that the compiled plan returns the result of the reference or raises an error."""
    try:
        with engines.use("reference"):
            expected = engines.run(plan, x)
    except ERRORS:
        expected = None
    with engines.use("numba"):
        try:
            found = engines.run(plan, x)
        except ERRORS:
            return
    assert expected is not None, "a result, where the reference has an error"
    assert_close(found, expected, **EXACT)


def r(*size):
    return torch.rand(*size, dtype=torch.float64)


def stage(node_map=None, weight=None, **rest):
    return (Stage((Term(0, node_map, weight),), **rest),)


PLANS = {
    "a long graph": stage(Graph(r(1, 5, 3), "abs")),
    "a wide graph": stage(Graph(r(1, 3, 5), "abs")),
    "a flat graph": stage(Graph(r(3, 3), "abs")),
    "a graph of other nodes": stage(Graph(r(1, 5, 5), "abs")),
    "a graph": stage(Graph(r(1, 3, 3), "signed")),
    "a map of other nodes": stage(NodeMap(r(1, 4, 5))),
    "a map with a short bias": stage(NodeMap(r(1, 3, 3), r(1, 2, 1))),
    "a map with a long bias": stage(NodeMap(r(1, 3, 3), r(1, 5, 1))),
    "a map with one bias": stage(NodeMap(r(1, 3, 3), r(1, 1, 1))),
    "a map with a bias for each channel": stage(NodeMap(r(1, 3, 3), r(1, 3, 2))),
    "a map with a flat bias": stage(NodeMap(r(1, 3, 3), r(1, 3))),
    "a scale for one sample": stage(Scale(r(1, 3, 1))),
    "a scale for other samples": stage(Scale(r(1, 3, 5))),
    "a flat scale": stage(Scale(r(1, 3))),
    "a scale for other nodes": stage(Scale(r(1, 4, 67))),
    "a scale": stage(Scale(r(1, 3, 67))),
    "a scale and a weight": stage(Scale(r(1, 3, 67)), weight=r(1, 4, 2)),
    "one bias": stage(weight=r(1, 4, 2), bias=r(1, 1)),
    "one bias for each node": stage(weight=r(1, 4, 2), bias=r(1, 3, 1)),
    "one bias of three dimensions": stage(weight=r(1, 4, 2), bias=r(1, 1, 1)),
    "a short bias": stage(weight=r(1, 4, 2), bias=r(1, 3)),
    "a bias for other nodes": stage(weight=r(1, 4, 2), bias=r(1, 5, 4)),
    "a bias without branches": stage(weight=r(1, 4, 2), bias=r(4)),
    "a weight of other channels": stage(weight=r(1, 4, 5)),
    "a flat weight": stage(weight=r(4, 2)),
    "more branches": stage(weight=r(3, 4, 2)),
    "single precision": stage(weight=r(1, 4, 2).float()),
    "integers": stage(weight=torch.ones(1, 4, 2, dtype=torch.long)),
    "complex numbers": stage(weight=r(1, 4, 2) + 0j),
    "another device": stage(weight=r(1, 4, 2).to("meta")),
    "negative": stage(weight=torch._neg_view(r(1, 4, 2))),
    "no channels out": stage(weight=r(1, 0, 2)),
    "no nodes out": stage(NodeMap(r(1, 0, 3))),
    "a selection": stage(Select(torch.tensor([[0, -1, 2, 0]]), 3)),
    "a selection of other nodes": stage(Select(torch.tensor([[0, -1, 2]]), 4)),
    "a selection and a weight": stage(Select(torch.tensor([[0, -1]]), 3), r(1, 4, 2)),
    "a later stage": (Stage((Term(1),)), Stage((Term(0),))),
    "a stage behind": (Stage((Term(-1),)),),
    "no terms": (Stage(()),),
    "nothing": (),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("batch", [1, 67])
def test_plans_that_do_not_fit(name, batch):
    agrees(PLANS[name], torch.randn(batch, 1, 3, 2, dtype=torch.float64))


NOTHING = """
import torch
from handgraph.nn import engines
from handgraph.nn.plan import NodeMap, Stage, Term
for batch, branches, nodes, channels in [(5, 1, 0, 2), (5, 1, 3, 0), (5, 0, 3, 2), (1, 1, 3, 0)]:
    x = torch.rand(batch, branches, nodes, channels)
    weight, matrix = torch.rand(branches, 4, channels), torch.rand(branches, 2, nodes)
    for term in (Term(0, weight=weight), Term(0, NodeMap(matrix))):
        found = []
        for engine in ("numba", "reference"):
            with engines.use(engine):
                found.append(engines.run((Stage((term,)),), x))
        torch.testing.assert_close(*found)
"""


@pytest.mark.slow
def test_empty_inputs_do_not_crash():
    """The test runs in a new process, because an invalid access ends it."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", NOTHING], check=True, timeout=120)


@settings(max_examples=200)
@given(st.data())
def test_tensors_that_are_wrong(data):
    """With one tensor resized, the engine raises an error or returns the changed plan's result."""
    x, parts, code = problem(Skeleton.edgeless(3), masked=data.draw(st.booleans()), channels=2)
    place = data.draw(st.integers(0, len(parts) - 1))
    shape = list(parts[place].shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[axis] = data.draw(st.integers(0, 5))
    parts[place] = torch.rand(shape, dtype=torch.float64)
    agrees(restore(code, parts), x.movedim(3, 0))


def test_saved_tensors_in_any_layout():
    """Hooks on saved tensors may return copies with other strides."""
    x, parts, code = problem()
    for tensor in (x, *parts):
        tensor.requires_grad_()
    plan = restore(code, parts)
    expected = gradients(plan, x, parts)[1]
    with saved_tensors_hooks(lambda t: t.mT.contiguous().mT, lambda t: t):
        assert_close(gradients(plan, x, parts)[1], expected, rtol=0, atol=0)


@pytest.mark.parametrize("index", [[[0, 3]], [[0, 99]], [[-2, 0]], [[2**40, 0]]])
def test_selections_of_missing_nodes_raise(index):
    select = stage(Select(torch.tensor(index), 3), relu=False)
    plan = (*select, Stage((Term(1, weight=r(1, 2, 2)),), relu=False))
    with pytest.raises(ERRORS):
        Folded(plan, (False, True))
    for engine in ("numba", "reference"):
        with engines.use(engine), pytest.raises(ERRORS):
            engines.run(plan, r(4, 1, 3, 2))
