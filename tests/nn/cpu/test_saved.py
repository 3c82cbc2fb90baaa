"""What the compiled net keeps for its derivative, and what may change before it."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from handgraph import HAND, RemovalSets
from tests.nn.nets import pose, unet

numba = pytest.importorskip("numba")

from handgraph.nn.cpu.layout import layout  # noqa: E402

LEVELS = RemovalSets.by_level(HAND)


def test_gradients_can_be_taken_twice_and_kept():
    net, x = unet(), pose(unet(), 4).requires_grad_()
    leaves, out = [x, *net.parameters()], net(x).square().sum()
    first = torch.autograd.grad(out, leaves, retain_graph=True)
    assert_close(torch.autograd.grad(out, leaves), first, rtol=0, atol=0)
    again = checkpoint(net, x, use_reentrant=False).square().sum()
    assert_close(torch.autograd.grad(again, leaves), first, rtol=0, atol=0)


def test_no_intermediates_are_kept():
    """Only the input, the parameters in one piece, and the maps; the rest is computed anew."""
    net, saved = unet(LEVELS), {}
    x = pose(net, 500).requires_grad_()
    with saved_tensors_hooks(lambda t: saved.setdefault(t.data_ptr(), t), lambda t: t):
        out = net(x)
    sizes = sorted(t.numel() for t in saved.values() if t.is_floating_point())
    flat = sum(p.numel() for p in net.parameters())
    maps = len(LEVELS) * layout(net.sizes).maps.size
    assert sizes == sorted([x.numel(), flat, maps])
    out.sum().backward()


def test_parameters_may_change_before_the_derivative():
    """As they are kept in one piece, which is a copy."""
    net, x = unet(), pose(unet(), 3)
    expected = torch.autograd.grad(net(x).sum(), list(net.parameters()))
    out = net(x).sum()
    with torch.no_grad():
        net.expand.weight.mul_(2)
    assert_close(torch.autograd.grad(out, list(net.parameters())), expected, rtol=0, atol=0)


def test_input_may_not_change_before_the_derivative():
    net, x = unet(), pose(unet())
    out = net(x).sum()
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()
