"""The compiled net computes what PyTorch's operations do, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, kernels

numba = pytest.importorskip("numba")

from handgraph.nn.cpu import batch  # noqa: E402

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "two": ["thumb", "pinky_tip"], "nothing": ()})
EXACT = {"rtol": 1e-9, "atol": 1e-10}
ONCE = {"merge_all": 1, "run_all": 1, "unmerge_all": 1, "run_all_back": 1}


def unet(graph=HAND, sizes=(2, 3), **options):
    """Positive adjacencies, as the root of a negative degree is NaN."""
    torch.manual_seed(0)
    net = AdaptiveGraphUNet(*sizes, graph, **options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.rand_like(parameter))
        if net.normalization == "abs":
            for adjacency in net.adjacency:
                adjacency.sub_(0.15)
    return net


def pose(net, *lead, dtype=torch.float64):
    nodes = net.node_mask.shape[0 if isinstance(net.graph, RemovalSets) else 1 :]
    return torch.randn(*lead, *nodes, net.in_channels, dtype=dtype)


def values_and_gradients(net, x):
    """Of the input and every parameter, for a fixed weighting of the outputs."""
    leaf = x.detach().requires_grad_()
    out = net(leaf)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape).cos()
    return out.detach(), *torch.autograd.grad(out, [leaf, *net.parameters()], weights)


def compare(net, x):
    found = values_and_gradients(net, x)
    with kernels.disabled():
        expected = values_and_gradients(net, x)
    assert found[0].shape == (*x.shape[:-1], net.out_channels)
    assert all(t.isfinite().all() for t in expected)
    assert_close(found, expected, **EXACT)
    with torch.no_grad():
        assert torch.equal(net(x), found[0])


@pytest.mark.parametrize("samples", [0, 1, 2, 33, 300])
@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("options", [{}, {"nodes": (21, 4)}, {"nodes": (21, 30, 5)}])
@pytest.mark.parametrize("channels", [4, 5, 24])
def test_skeletons(samples, normalization, options, channels):
    net = unet(normalization=normalization, channels=channels, **options)
    compare(net, pose(net, samples))


@pytest.mark.parametrize("samples", [0, 1, 3, 33, 600])
@pytest.mark.parametrize("graph", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_branches(calls, graph, samples):
    net = unet(graph)
    values_and_gradients(net, pose(net, samples))
    assert calls == ONCE
    compare(net, pose(net, samples))


@settings(max_examples=40)
@given(
    nodes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.integers(1, 5),
    bottleneck_channels=st.integers(1, 6),
    branches=st.integers(1, 3),
    samples=st.one_of(st.integers(0, 5), st.just(70)),
    normalization=st.sampled_from(["abs", "signed"]),
)
def test_any_sizes(nodes, sizes, branches, samples, **options):
    graph = RemovalSets.none(Skeleton.edgeless(nodes[0]), branches)
    net = unet(graph, sizes, nodes=nodes, **options)
    compare(net, pose(net, samples))


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (2, 0), (2, 1, 3)])
@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["hand", "ragged"])
def test_leading_dimensions(graph, lead):
    net = unet(graph)
    compare(net, pose(net, *lead))


def test_inputs_that_are_not_contiguous():
    net = unet(LEVELS)
    x = pose(net, 10)
    for view in (x[::3], x.flip(0), x[:1].expand(5, -1, -1, -1), x.mT.contiguous().mT):
        compare(net, view)
    samples_last = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert torch.equal(net(samples_last), net(x))
    assert torch.equal(net(torch._neg_view(x)), net(-x))


def test_gradients_that_are_not_contiguous():
    net = unet(LEVELS)
    x, weights = pose(net, 5).requires_grad_(), torch.randn(3, 5, 16, 4, dtype=torch.float64)
    leaves = [x, *net.parameters()]
    for weighting in (weights.permute(1, 3, 2, 0), torch.ones(1).double().expand(5, 4, 16, 3)):
        found = torch.autograd.grad(net(x), leaves, weighting)
        with kernels.disabled():
            assert_close(found, torch.autograd.grad(net(x), leaves, weighting), **EXACT)
    for function in (batch.run_all, batch.run_all_back):  # nothing is compiled for other strides
        arrays = [t for types in function.signatures for t in types if hasattr(t, "layout")]
        assert {t.layout for t in arrays} == {"C"}


@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_single_precision(normalization):
    net = unet(RAGGED, normalization=normalization)
    x = pose(net, 40)
    expected = values_and_gradients(net, x)
    found = values_and_gradients(copy.deepcopy(net).float(), x.float())
    assert all(t.dtype == torch.float32 for t in found)
    assert_close(found[0].double(), expected[0], rtol=1e-5, atol=1e-5)
    for ours, exact in zip(found, expected, strict=True):
        assert (ours - exact).abs().max() < 1e-5 * exact.abs().max().clamp(min=1)


@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_entries_of_0_and_below(normalization):
    """Where the absolute value has a kink its slope is 0; the root of a negative degree is NaN."""
    net = unet(normalization=normalization, nodes=(21, 4))
    with torch.no_grad():
        net.adjacency[0].copy_(-torch.rand(21, 21).round() / 9 - 1e-3 * torch.eye(21))
    x = pose(net, 3)
    found = values_and_gradients(net, x)
    with kernels.disabled():
        expected = values_and_gradients(net, x)
    assert_close(found, expected, equal_nan=True, **EXACT)
    assert bool(found[0].isnan().all()) == (normalization == "signed")
