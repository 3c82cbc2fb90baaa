"""The compiled engine: reproducible bits, memory, and plans of any form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from handgraph import HAND
from handgraph.nn import engines
from handgraph.nn.engines.choice import prepare, run_forms
from handgraph.nn.engines.outline import outline
from handgraph.nn.plan import tensors
from tests.nn.engines.plans import evaluate, map_tensors, plans
from tests.nn.nets import EXACT, LEVELS, RAGGED, pose, soft_mask, unet, values_and_gradients

numba = pytest.importorskip("numba")

from handgraph.nn.engines.cpu import entry  # noqa: E402


@pytest.fixture(autouse=True)
def engine():
    with engines.use("numba"):
        yield


# Bits


@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
def test_a_sample_has_the_same_bits_in_any_batch(graph):
    net = unet(graph, dtype=torch.float32)
    x = pose(net, 400)
    together = net(x)
    assert torch.equal(net(x), together)
    for part in (slice(0, 3), slice(100, 300), slice(397, 400)):
        assert torch.equal(net(x[part]), together[part])
    gate = soft_mask(x)
    assert torch.equal(net(x[100:300], gate[100:300]), net(x, gate)[100:300])


def test_bits_do_not_depend_on_the_layout():
    net = unet(LEVELS, dtype=torch.float32)
    x = pose(net, 50)
    samples_last = x.movedim(0, -1).contiguous().movedim(-1, 0)
    assert torch.equal(net(samples_last), net(x))
    assert torch.equal(net(x[:, :, :, :]), net(x.mT.contiguous().mT))


def test_values_are_those_with_gradients():
    net = unet(LEVELS)
    x = pose(net, 50)
    with torch.no_grad():
        expected = net(x)
    assert torch.equal(net(x), expected)


# Memory


@pytest.mark.parametrize("masked", [False, True])
def test_no_intermediates_are_kept(masked):
    """Only the input, the tensors of the plan and the fused maps are saved for backward."""
    net, saved = unet(LEVELS), {}
    x = pose(net, 500)
    plan = net.lower(soft_mask(x) if masked else None)
    leaf = x.requires_grad_()
    with saved_tensors_hooks(lambda t: saved.setdefault(id(t), t), lambda t: t):
        out = engines.run(plan, leaf)
    read = sum(part.numel() for part in outline(plan)[1])
    fused = sum(t.numel() for t in saved.values()) - x.numel() - read
    assert 0 < fused < len(LEVELS) * 5 * 16**2
    out.sum().backward()


def test_other_strides_need_no_compilation():
    net = unet(LEVELS)
    x = pose(net, 5)
    for view in (x, x.mT.contiguous().mT, x[::2], x[..., :1].expand_as(x)):
        values_and_gradients(net, view)
    for function in (entry.forward, entry.backward):
        signatures = {str(signature) for signature in function.signatures}
        arrays = [t for types in function.signatures for t in types if hasattr(t, "layout")]
        assert len(signatures) <= 2  # float32 and float64
        assert {t.layout for t in arrays} == {"C"}


# Plans


def run(plan, x):
    return engines.run(plan, x.movedim(-1, 0)).movedim(0, -1)


@settings(max_examples=40)
@given(plans(joined=False, selects=False))
def test_any_plan(problem):
    plan, given = problem
    plan = map_tensors(plan, lambda part: part.requires_grad_())
    parts = [part for part in tensors(plan) if part.requires_grad]
    for samples in (0, 1, 3, 40):
        x = torch.randn(*given, samples, dtype=torch.float64, requires_grad=True)
        found, expected = run(plan, x), evaluate(plan, x)
        assert_close(found, expected, **EXACT)
        weights = torch.randn_like(expected)
        gradients = [
            torch.autograd.grad(out, [x, *parts], weights, materialize_grads=True)
            for out in (found, expected)
        ]
        assert_close(*gradients, **EXACT)


@settings(max_examples=40)
@given(plans())
def test_any_plan_that_is_kept(problem):
    """Prepared plans may also join their branches or select nodes."""
    plan, given = problem
    assume(any(part.is_floating_point() for part in tensors(plan)))
    forms = prepare(plan, given)
    other = map_tensors(plan, lambda part: part * 0.7)
    for samples in (1, 3, 40):
        x = torch.randn(*given, samples, dtype=torch.float64)
        assert_close(run_forms(forms, x), evaluate(plan, x), **EXACT)
    forms["numba"].update(other)
    assert_close(run_forms(forms, x), evaluate(other, x), **EXACT)


# Observers


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_modes_see_the_operations():
    """Compiled code hides its operations, so the reference runs under a dispatch mode."""
    net = unet()
    x = pose(net, 3).unsqueeze(1).requires_grad_()
    with Seen() as seen:
        engines.run(net.lower(), x)
    assert "aten.bmm.default" in seen.names
    out = engines.run(net.lower(), x)
    with Seen() as seen:
        out.sum().backward()
    assert "aten.bmm.default" in seen.names
    assert np.isfinite(x.grad.numpy()).all()
