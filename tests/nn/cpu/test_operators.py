"""The four operators keep the contracts of PyTorch's operators."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, fold
from handgraph.nn.kernels.sizes import Sizes

numba = pytest.importorskip("numba")

from handgraph.nn.cpu import ops  # noqa: E402
from handgraph.nn.cpu.layout import layout  # noqa: E402

SIZES = Sizes(2, 3, 2, 4, (5, 3, 2), (3, 6))
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def flat_parameters(dtype=torch.float64):
    count = sum(torch.Size(s).numel() for shapes in SIZES.shapes() for s in shapes)
    return torch.rand(count, dtype=dtype).requires_grad_()


def problem(batch, out_nodes, dtype=torch.float64):
    maps = no_first_bias(torch.randn(2, layout(SIZES, out_nodes).maps.size, dtype=dtype))
    x = torch.randn(2, 5, 3, batch, dtype=dtype)
    return x.requires_grad_(), maps.requires_grad_()


def no_first_bias(maps):
    """There is no pooling before the first level, which could have a bias: 0 stands there."""
    start = SIZES.nodes[0] ** 2 + 3 * 5 + 2 * 3
    return torch.cat([maps[:, :start], 0 * maps[:, start : start + 5], maps[:, start + 5 :]], 1)


@DTYPES
@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own check reads it
def test_merge_is_a_good_operator(dtype, normalization):
    flat = flat_parameters(dtype)
    opcheck(ops._merge, (flat, SIZES.encode(), normalization))
    maps = ops._merge(flat.detach(), SIZES.encode(), normalization)
    args = torch.randn_like(maps), flat.detach(), maps, SIZES.encode(), normalization
    opcheck(ops._merge_backward, args)


@DTYPES
@pytest.mark.parametrize(("batch", "out_nodes"), [(0, 5), (1, 5), (40, 2), (3, 8)])
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_unet_is_a_good_operator(dtype, batch, out_nodes):
    x, maps = problem(batch, out_nodes, dtype)
    opcheck(ops._unet, (x, maps, SIZES.encode(), out_nodes))
    grad = torch.randn(2, out_nodes, 2, batch, dtype=dtype)
    args = grad, x.detach(), maps.detach(), SIZES.encode(), out_nodes
    opcheck(ops._unet_backward, args)


@pytest.mark.parametrize("out_nodes", [1, 2, 5, 8, 40])
@pytest.mark.parametrize("batch", [0, 1, 3, 40])
def test_any_number_of_nodes_comes_out(out_nodes, batch):
    """Fewer than come in, or more: as where a map over the nodes follows."""
    x, maps = problem(batch, out_nodes)
    out = torch.ops.handgraph.unet(x, maps, SIZES.encode(), out_nodes)
    weights = torch.randn_like(out)
    d_x, d_maps = torch.autograd.grad(out, [x, maps], weights)
    expected = ops.maps_of(maps, SIZES, out_nodes)(x)
    assert_close(out, expected, rtol=1e-9, atol=1e-10)
    gradients = torch.autograd.grad(expected, [x, maps], weights)
    assert_close((d_x, no_first_bias(d_maps)), gradients, rtol=1e-9, atol=1e-9)


def test_derivative_stays_within_its_arrays():
    """What stands behind the gradient of the maps is of other values, and not finite here."""
    x, maps = problem(3, 2)
    with torch.no_grad():
        x[1] = torch.nan
        maps[1] = torch.inf
    grad = torch.randn(2, 2, 2, 3, dtype=torch.float64)
    both = torch.ops.handgraph.unet_backward(grad, x, maps, SIZES.encode(), 2)
    assert all(t[0].isfinite().all() for t in both)
    assert both[0][1].isnan().any()


def test_arguments_are_left_alone():
    flat, (x, maps) = flat_parameters(), problem(3, 5)
    grads = torch.randn_like(maps), torch.randn(2, 5, 2, 3, dtype=torch.float64)
    before = [t.detach().clone() for t in (flat, x, maps, *grads)]
    merged = torch.ops.handgraph.merge(flat, SIZES.encode(), "abs").detach()
    kept = merged.clone()
    torch.ops.handgraph.merge_backward(grads[0], flat, merged, SIZES.encode(), "abs")
    torch.ops.handgraph.unet(x, maps, SIZES.encode(), 5)
    torch.ops.handgraph.unet_backward(grads[1], x, maps, SIZES.encode(), 5)
    assert all(map(torch.equal, (flat, x, maps, *grads, merged), (*before, kept)))


def test_shapes_without_values():
    net = AdaptiveGraphUNet(2, 3, RemovalSets.by_level(HAND))
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(7, 4, 16, 2, requires_grad=True)
        out = net(x)
        out.sum().backward()
    assert out.shape == (7, 4, 16, 3)
    assert x.grad.shape == x.shape
    on_meta = AdaptiveGraphUNet(2, 3, HAND).to("meta")
    assert on_meta(torch.empty(7, 21, 2, device="meta")).shape == (7, 21, 3)
    maps = torch.ops.handgraph.merge(flat_parameters().to("meta"), SIZES.encode(), "abs")
    assert maps.shape == (2, layout(SIZES).maps.size)


@pytest.mark.parametrize("made", [lambda net: net, fold], ids=["net", "folded"])
def test_other_dtypes_and_devices_are_refused(made):
    net = made(AdaptiveGraphUNet(2, 3, HAND))
    expected = r"expected an input in the net's torch.float32 on cpu, got torch.float64 on cpu"
    with pytest.raises(TypeError, match=expected):
        net(torch.rand(600, 21, 2, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"net's torch.float32 on meta, got torch.float32 on cpu"):
        net.to("meta")(torch.rand(600, 21, 2))


def test_same_bits_where_memory_is_filled_with_nan():
    net, x = AdaptiveGraphUNet(2, 3, HAND), torch.randn(40, 21, 2, requires_grad=True)
    found = []
    for switch in (True, False):
        torch.use_deterministic_algorithms(switch)
        try:
            out = net(x)
            found.append((out, *torch.autograd.grad(out.sum(), [x, *net.parameters()])))
        finally:
            torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *found))
