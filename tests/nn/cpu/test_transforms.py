"""What traces, casts or batches takes PyTorch's operations, and gives the right values."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

from handgraph import Skeleton
from handgraph.nn import kernels
from tests.nn.nets import by_torch, unet

numba = pytest.importorskip("numba")

EXACT = {"rtol": 1e-9, "atol": 1e-10}


def pose(*batch, dtype=torch.float64, joints=21):
    return torch.randn(*batch, joints, 2, dtype=dtype)


def test_autocast(no_numba):
    net, x = unet(dtype=torch.float32), pose(4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), by_torch(net, x), rtol=0.1, atol=0.2)
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_forward_mode(no_numba):
    net = unet()
    x, tangent = pose(3), pose(3)
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(net(forward_ad.make_dual(x, tangent))).tangent
    step = 1e-6 * tangent
    difference = by_torch(net, x + step) - by_torch(net, x - step)
    assert_close(slope, difference / 2e-6, rtol=1e-5, atol=1e-6)


def test_batched_functions(no_numba):
    net, x = unet(), pose(5)
    parameters = dict(net.named_parameters())

    def loss(x, parameters):
        return functional_call(net, parameters, (x,)).square().sum()

    each = vmap(grad(loss, argnums=(0, 1)), in_dims=(0, None))(x, parameters)
    x.requires_grad_()
    leaves = [x, *net.parameters()]
    with kernels.disabled():
        expected = torch.autograd.grad(net(x).square().sum(), leaves)
    found = [each[0], *(part.sum(0) for part in each[1].values())]
    assert_close(found, list(expected), **EXACT)


def test_functional_call_takes_other_parameters(calls):
    net, other = unet(), unet()
    with torch.no_grad():
        other.expand.weight.mul_(2)
    x = pose(4)
    assert torch.equal(functional_call(net, dict(other.named_parameters()), (x,)), other(x))
    assert calls["run_all"] == 2


def test_compiled_by_torch(no_numba):
    torch._dynamo.reset()
    net = unet(Skeleton.edgeless(3), nodes=(3, 2), channels=2)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x = pose(4, joints=3).requires_grad_()
    out = compiled(x)
    leaves = [x, *net.parameters()]
    found = torch.autograd.grad(out.square().sum(), leaves)
    expected = by_torch(net, x)
    assert_close(out, expected, **EXACT)
    assert_close(found, torch.autograd.grad(expected.square().sum(), leaves), **EXACT)
    torch._dynamo.reset()


def test_export(no_numba):
    net = unet(nodes=(21, 4)).eval()
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(net, (pose(4),), dynamic_shapes=shapes)
    assert not any("handgraph" in str(node.target) for node in program.graph.nodes)
    for batch in (1, 7):
        x = pose(batch)
        assert_close(program.module()(x), by_torch(net, x), **EXACT)
