"""Products of float32, on a GPU as three products of TF32."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, engines
from handgraph.nn.engines.cuda import launch
from handgraph.nn.plan import NodeMap, Stage, Term
from tests.nn.engines.cuda.chains import run
from tests.nn.engines.cuda.test_modules import trained

REMOVAL = RemovalSets.by_level(HAND)
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def in_double(net, x):
    with engines.use("readable"):
        return copy.deepcopy(net).double()(x.double())


@pytest.mark.parametrize(
    ("net", "channels"),
    [(AdaptiveGraphUNet(2, 3, REMOVAL), 2), (GraphMerger(3, 3, REMOVAL), 3)],
    ids=["branches", "merger"],
)
def test_float32_is_exact_to_rounding(triton, device, net, channels):
    net, x = trained(net), torch.randn(16, 4, 16, channels)
    expected = in_double(net, x)
    found = net.to(device)(x.to(device)).cpu()
    assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert triton["forward"] == 1


def test_gradients_are_exact_to_rounding(triton, device):
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


def test_what_a_product_leaves_out(device):
    """The relative error of three products is below 2^-21."""
    x, factor = torch.rand(1, 1, 1, 512) + 1, torch.rand(1, 1, 1) + 1
    plan = (Stage((Term(0, NodeMap(factor.to(device))),), relu=False),)
    out = run(plan, x.to(device)).cpu()
    exact = x.double() * factor.double()
    assert ((out - exact).abs() / exact).max() < 2**-21


@pytest.mark.skipif(IS_INTERPRETED, reason="the interpreter multiplies in full precision")
def test_one_product_would_not_be_enough(triton, device, monkeypatch):
    monkeypatch.setitem(launch.PRECISION, "none", "tf32")
    with pytest.raises(AssertionError, match="not close"):
        test_float32_is_exact_to_rounding(triton, device, AdaptiveGraphUNet(2, 3, REMOVAL), 2)
