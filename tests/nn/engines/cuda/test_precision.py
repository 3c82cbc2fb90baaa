"""Products of float32 as three products of TF32, on matrix units or emulated."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, engines
from handgraph.nn.engines.cuda import launch
from handgraph.nn.plan import NodeMap, Stage, Term
from tests.nn.engines.cuda.chains import run
from tests.nn.engines.cuda.test_modules import trained

interpreter = pytest.importorskip("triton.runtime.interpreter")
REMOVAL = RemovalSets.by_level(HAND)
STEP = 8  # products that a matrix unit adds at once


def to_tf32(numbers):
    """Convert float32 to TF32 as matrix units do, which ignore the last 13 bits."""
    return (numbers.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def toward_zero(numbers):
    """Convert doubles to float32 rounded towards zero, as matrix units do with sums."""
    near = numbers.astype(np.float32)
    return np.where(np.abs(near) > np.abs(numbers), np.nextafter(near, np.float32(0)), near)


def add_product(out, a, b):
    """Add ``a @ b`` of TF32 numbers, whose products are exact in double precision."""
    for k in range(0, a.shape[-1], STEP):
        ahead = slice(k, k + STEP)
        exact = a[..., ahead].astype(np.float64) @ b[..., ahead, :].astype(np.float64)
        out = toward_zero(out + exact)
    return out


@pytest.fixture
def matrix_units(device, monkeypatch):
    """Make the interpreter multiply as matrix units do; a GPU has real ones."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        yield
        return
    count = [0]

    def create_dot(self, a, b, d, precision, imprecise):
        assert precision.name == "TF32"
        count[0] += 1
        found = add_product(d.data, to_tf32(a.data), to_tf32(b.data))
        return interpreter.TensorHandle(found, d.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
    yield
    assert count[0]


def in_double(net, x):
    with engines.use("readable"):
        return copy.deepcopy(net).double()(x.double())


@pytest.mark.parametrize(
    ("net", "channels"),
    [(AdaptiveGraphUNet(2, 3, REMOVAL), 2), (GraphMerger(3, 3, REMOVAL), 3)],
    ids=["branches", "merger"],
)
def test_float32_is_exact_to_rounding(triton, device, matrix_units, net, channels):
    net, x = trained(net), torch.randn(16, 4, 16, channels)
    expected = in_double(net, x)
    found = net.to(device)(x.to(device)).cpu()
    assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert triton["forward"] == 1


def test_gradients_are_exact_to_rounding(triton, device, matrix_units):
    """Errors are relative to the largest gradient: a sum that cancels is as exact as its terms."""
    net, x = trained(AdaptiveGraphUNet(2, 3, REMOVAL)), torch.randn(16, 4, 16, 2)
    exact = copy.deepcopy(net).double()
    loss = net.to(device)(x.to(device)).square().sum()
    found = torch.autograd.grad(loss, list(net.parameters()))
    with engines.use("readable"):
        loss = exact(x.double()).square().sum()
    for gradient, twin in zip(found, torch.autograd.grad(loss, exact.parameters()), strict=True):
        assert (gradient.cpu() - twin).abs().max() < 1e-5 * twin.abs().max()
    assert triton["backward"] == 1


def test_what_a_product_leaves_out(device, matrix_units):
    """The relative error is below 2^-21, as numbers are rounded and not truncated when split."""
    x, factor = torch.rand(1, 1, 1, 512) + 1, torch.rand(1, 1, 1) + 1
    plan = (Stage((Term(0, (NodeMap(factor.to(device)),)),), relu=False),)
    out = run(plan, x.to(device)).cpu()
    exact = x.double() * factor.double()
    assert ((out - exact).abs() / exact).max() < 2**-21


def test_one_product_would_not_be_enough(triton, device, matrix_units, monkeypatch):
    monkeypatch.setitem(launch.PRECISION, "none", "tf32")
    with pytest.raises(AssertionError, match="not close"):
        test_float32_is_exact_to_rounding(
            triton, device, matrix_units, AdaptiveGraphUNet(2, 3, REMOVAL), 2
        )
