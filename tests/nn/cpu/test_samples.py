"""In the compiled net samples and branches are alone, and removed joints have no influence."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import SubgraphMask, kernels
from handgraph.testing import assert_no_leak
from tests.nn.nets import pose, unet

numba = pytest.importorskip("numba")

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "two": ["thumb", "pinky_tip"], "nothing": ()})
EXACT = {"rtol": 1e-9, "atol": 1e-10}


@pytest.mark.parametrize("batch", [1, 3, 40, 300])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_sample(batch, value):
    net = unet()
    x, last = pose(net, batch), batch - 1
    clean = net(x).detach()
    x[last, 4, 1] = value
    x.requires_grad_()
    out = net(x)
    weights = torch.ones_like(out)
    (grad,) = torch.autograd.grad(out, x, weights)
    assert torch.equal(out[:last], clean[:last])
    assert grad[:last].isfinite().all()
    with kernels.disabled():
        expected = net(x)
        (other,) = torch.autograd.grad(expected, x, weights)
    assert out[last].isnan().any() if value != value else not out[last].isfinite().all()
    assert_close(out, expected, equal_nan=True, **EXACT)
    assert torch.equal(grad.isnan(), other.isnan())


def test_nan_in_a_parameter_reaches_its_branch_and_no_other():
    net = unet(LEVELS)
    with torch.no_grad():
        net.expand.bias[1, 0] = torch.nan
    x = pose(net, 3).requires_grad_()
    out = net(x)
    found = torch.autograd.grad(out.sum(), [x, *net.parameters()])
    with kernels.disabled():
        expected = torch.autograd.grad(net(x).sum(), [x, *net.parameters()])
    assert out[:, 1].isnan().all()
    assert out[:, [0, 2, 3]].isfinite().all()
    assert all(grad[[0, 2, 3]].isfinite().all() for grad in found[1:])
    for ours, other in zip(found, expected, strict=True):
        assert torch.equal(ours.isnan(), other.isnan())


def test_a_sample_computes_the_same_in_any_batch():
    net = unet(RAGGED)
    x = pose(net, 600)
    together = net(x)
    for i in (0, 255, 256, 599):
        assert_close(net(x[i]), together[i], rtol=1e-12, atol=1e-12)
    assert torch.equal(net(x[100:300]), together[100:300])


def test_gradients_of_parameters_are_sums_over_the_samples():
    net = unet(LEVELS)
    x, parameters = pose(net, 600), list(net.parameters())
    together = torch.autograd.grad(net(x).square().sum(), parameters)
    parts = [torch.autograd.grad(net(part).square().sum(), parameters) for part in x.split(77)]
    assert_close([sum(part) for part in zip(*parts, strict=True)], list(together), **EXACT)


@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_removed_joints_have_no_influence(calls, removal):
    net = nn.Sequential(SubgraphMask(removal), unet(removal).float())
    assert_no_leak(net, removal, 2)
    assert calls["run_all_back"] == len(removal)


def test_padding_gives_0_and_has_no_influence():
    net, padding = unet(RAGGED), ~RAGGED.node_mask.unsqueeze(-1)
    x = pose(net, 5)
    out = net(x)
    assert (out.masked_select(padding) == 0).all()
    other = x.masked_fill(padding, torch.nan).requires_grad_()
    again = net(other)
    assert torch.equal(again, out)
    grad, *parameters = torch.autograd.grad(again.sum(), [other, *net.parameters()])
    assert (grad.masked_select(padding) == 0).all()
    assert all(found.isfinite().all() for found in parameters)
    both = ~(RAGGED.node_mask.unsqueeze(1) & RAGGED.node_mask.unsqueeze(2))
    at_adjacency = [n for n, _ in net.named_parameters()].index("adjacency.0")
    assert (parameters[at_adjacency][both] == 0).all()


@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["hand", "ragged"])
def test_masks_of_single_samples_are_left_to_pytorch(calls, graph):
    net = unet(graph)
    x = pose(net, 5)
    gate = torch.rand(x.shape[:-1], dtype=torch.float64)
    found = [net(x, mask) for mask in (gate > 0.3, gate.where(gate > 0.3, 0))]
    assert calls["run_all"] == 0
    with kernels.disabled():
        expected = [net(x, mask) for mask in (gate > 0.3, gate.where(gate > 0.3, 0))]
    assert_close(found, expected, rtol=0, atol=0)
    everyone = torch.ones(x.shape[:-1], dtype=torch.bool)
    assert_close(net(x, everyone), net(x), **EXACT)
    assert calls["run_all"] == 1
