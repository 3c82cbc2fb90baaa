"""The derivative of the graph U-Net that is written out is that of autograd."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.functional import jacobian
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import kernels
from handgraph.nn import unet as module_of_unet
from tests.nn.nets import pose, unet

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "two": ["thumb", "pinky_tip"], "nothing": ()})
EXACT = {"rtol": 1e-9, "atol": 1e-10}


@pytest.fixture(autouse=True)
def by_pytorch():
    """Keep numba out of it."""
    with kernels.disabled():
        yield


def by_autograd(monkeypatch):
    monkeypatch.setattr(module_of_unet, "is_plain", lambda x: False)


def nodes_of(out):
    """Names of all nodes of the graph behind a tensor."""
    seen, names = [out.grad_fn], set()
    while seen:
        node = seen.pop()
        names.add(node.name())
        seen += [after for after, _ in node.next_functions if after is not None]
    return names


@pytest.mark.parametrize("batch", [0, 1, 2, 40])
@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("options", [{}, {"nodes": (21, 4)}, {"nodes": (21, 30, 5)}])
@pytest.mark.parametrize("channels", [4, 24], ids=["narrow", "wide"])
def test_gradients_are_those_of_autograd(monkeypatch, batch, normalization, options, channels):
    net = unet(normalization=normalization, channels=channels, **options)
    compare(monkeypatch, net, pose(net, batch))


@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("graph", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_gradients_of_branches_are_those_of_autograd(monkeypatch, graph, batch):
    net = unet(graph)
    compare(monkeypatch, net, pose(net, batch))


def compare(monkeypatch, net, x):
    x.requires_grad_()
    leaves = [x, *net.parameters()]
    out = net(x)
    weights = torch.randn_like(out)
    assert "_NetBackward" in nodes_of(out)
    ours = torch.autograd.grad((weights * out).sum(), leaves)
    by_autograd(monkeypatch)
    other = net(x)
    assert "_NetBackward" not in nodes_of(other)
    assert_close(out, other, **EXACT)
    assert_close(ours, torch.autograd.grad((weights * other).sum(), leaves), **EXACT)


def test_only_what_is_asked_for_gets_a_gradient():
    net = unet()
    net.requires_grad_(False)
    net.squeeze.bias.requires_grad_()
    net(pose(net, 4)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["squeeze.bias"]


def test_gradients_can_be_taken_twice():
    net = unet()
    x = pose(net, 4).requires_grad_()
    leaves, out = [x, *net.parameters()], net(x).square().sum()
    first = torch.autograd.grad(out, leaves, retain_graph=True)
    assert_close(torch.autograd.grad(out, leaves), first, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(out, leaves)


def small():
    net = unet(Skeleton.edgeless(4), channels=2, bottleneck_channels=3)
    names = [name for name, _ in net.named_parameters()]

    def call(x, *parameters):
        return functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    return net, call


def test_first_and_second_derivatives_are_those_of_differences():
    net, call = small()
    inputs = pose(net, 2).requires_grad_(), *net.parameters()
    assert gradcheck(call, inputs, fast_mode=True)
    assert gradgradcheck(call, inputs, fast_mode=True)


def test_many_gradients_at_once_go_by_autograd():
    net, x = unet(LEVELS), pose(unet(LEVELS), 1)
    one_by_one = jacobian(net, x)
    assert_close(jacobian(net, x, vectorize=True), one_by_one, **EXACT)


def test_transforms_go_by_autograd():
    net, call = small()
    x = pose(net, 5)
    each = vmap(grad(lambda x: call(x, *net.parameters()).square().sum()))(x)
    x.requires_grad_()
    assert_close(each, torch.autograd.grad(net(x).square().sum(), x)[0], **EXACT)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [name for name, _ in small()[0].named_parameters()])
def test_any_single_parameter_may_be_batched(name, masked):
    net, _ = small()
    x, mask = pose(net, 5), torch.arange(20).view(5, 4) % 3 > 0 if masked else None
    given = net.get_parameter(name).detach()

    def call(parameter):
        return functional_call(net, {name: parameter}, (x, mask))

    many = torch.stack([given, 2 * given])
    assert_close(vmap(call)(many), torch.stack([call(one) for one in many]), **EXACT)


def test_forward_mode_goes_by_autograd():
    net = unet()
    x, tangent = pose(net, 3), pose(net, 3)
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(net(forward_ad.make_dual(x, tangent))).tangent
    step = 1e-6 * tangent
    assert_close(slope, (net(x + step) - net(x - step)) / 2e-6, rtol=1e-5, atol=1e-6)
