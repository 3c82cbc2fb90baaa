"""Derivatives of the compiled net: first, second, and only those that are asked for."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import kernels
from tests.nn.nets import pose, unet

numba = pytest.importorskip("numba")

LEVELS = RemovalSets.by_level(HAND)
EXACT = {"rtol": 1e-9, "atol": 1e-10}


def small(graph=None, **options):
    """A net as a function of its parameters, too."""
    graph = Skeleton.edgeless(4) if graph is None else graph
    net = unet(graph, channels=2, bottleneck_channels=3, **options)
    names = [name for name, _ in net.named_parameters()]

    def call(x, *parameters):
        return functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    return net, call


TOY = RemovalSets.from_keep_masks(
    Skeleton.edgeless(3), torch.tensor([[True, True, False], [True] * 3])
)


@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("graph", [None, TOY], ids=["skeleton", "ragged"])
def test_derivatives_are_those_of_differences(calls, graph, normalization):
    net, call = small(graph, normalization=normalization)
    inputs = pose(net, 2).requires_grad_(), *net.parameters()
    assert gradcheck(call, inputs, fast_mode=True)
    assert min(calls.values()) > 0
    assert gradgradcheck(call, inputs, fast_mode=True)


def test_second_derivatives_of_input_and_parameters():
    net, call = small()
    inputs = pose(net, 2), *(parameter.detach() for parameter in net.parameters())

    def loss(*inputs):
        return call(*inputs).square().sum()

    found = hessian(loss, inputs)
    with kernels.disabled():
        expected = hessian(loss, inputs)
    assert_close(found, expected, **EXACT)


def test_second_derivatives_of_the_input_alone():
    """As of a frozen net: the maps need no gradient."""
    net = unet().requires_grad_(False)
    x = pose(net, 2)
    found = hessian(lambda x: net(x).square().sum(), x)
    with kernels.disabled():
        assert_close(found, hessian(lambda x: net(x).square().sum(), x), **EXACT)


def test_second_derivatives_of_parameters_alone():
    net, x = unet(), pose(unet(), 4)
    found = []
    for switch in (torch.enable_grad, kernels.disabled):
        with switch():
            first = torch.autograd.grad(net(x).square().sum(), net.expand.weight, create_graph=True)
            leaves = [*net.parameters()]
            found.append(torch.autograd.grad(first[0].square().sum(), leaves, allow_unused=True))
    assert_close(*found, **EXACT)


def test_gradients_with_a_graph_are_those_without():
    net, x = unet(LEVELS), pose(unet(LEVELS), 5).requires_grad_()
    leaves, out = [x, *net.parameters()], net(x).square().sum()
    first = torch.autograd.grad(out, leaves, create_graph=True)
    assert_close(first, torch.autograd.grad(out, leaves), **EXACT)


def test_rows_of_a_jacobian_at_once():
    net = unet(nodes=(21, 4))
    x = pose(net)
    assert_close(jacobian(net, x, vectorize=True), jacobian(net, x), **EXACT)


def test_only_what_is_asked_for_gets_a_gradient(calls):
    net = unet().requires_grad_(False)
    net.squeeze.bias.requires_grad_()
    net(pose(net, 4)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["squeeze.bias"]
    found, net.squeeze.bias.grad = net.squeeze.bias.grad, None
    assert calls["run_all_back"] == 1
    torch.manual_seed(0)
    assert not net.requires_grad_(False)(pose(net, 4)).requires_grad
    assert found.isfinite().all()


@pytest.mark.parametrize("frozen", [True, False])
def test_gradient_of_the_input_alone(calls, frozen):
    net = unet(LEVELS).requires_grad_(not frozen)
    x = pose(net, 4).requires_grad_()
    (found,) = torch.autograd.grad(net(x).square().sum(), x)
    assert calls["run_all_back"] == 1
    assert calls["unmerge_all"] == 0
    with kernels.disabled():
        assert_close(found, torch.autograd.grad(net(x).square().sum(), x)[0], **EXACT)
