"""What fold makes computes the same through numba."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import (
    AdaptiveGraphUNet,
    GraphMerger,
    HypothesisGraphMerger,
    NodePool,
    SubgraphMask,
    fold,
    kernels,
)
from handgraph.nn.folded_unet import FoldedUNet

numba = pytest.importorskip("numba")

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
SETS = pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
EXACT = {"rtol": 1e-11, "atol": 1e-11}
MANY = 600  # so many that dense maps do not pay


def trained(net):
    """As if after training: no parameter is what it started as."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return net.double()


def unet(graph=HAND, **options):
    return trained(AdaptiveGraphUNet(2, 3, graph, **options))


def value_and_gradient(net, x):
    x = x.detach().requires_grad_()
    out = net(x)
    return out.detach(), torch.autograd.grad(out.square().sum(), x)[0]


def compare(calls, net, x, runs=1):
    """Unfolded and folded, with numba and without."""
    folded = fold(net)
    with kernels.disabled():
        expected = value_and_gradient(net, x)
        assert_close(value_and_gradient(folded, x), expected, **EXACT)
    assert not any(calls.values())
    assert_close(value_and_gradient(net, x), expected, **EXACT)
    assert calls["run_all_back"] == runs
    before = dict(calls)
    assert_close(value_and_gradient(folded, x), expected, **EXACT)
    assert calls["merge_all"] == before["merge_all"]  # it was done once for all
    assert calls["run_all"] == before["run_all"] + runs
    with torch.no_grad():
        assert_close(folded(x), expected[0], **EXACT)


@pytest.mark.parametrize("graph", [HAND, LEVELS, RAGGED], ids=["skeleton", "levels", "ragged"])
@pytest.mark.parametrize("options", [{}, {"channels": 5}, {"channels": 24}])
def test_unet(calls, graph, options):
    net = unet(graph, **options)
    nodes = (21,) if graph is HAND else (len(graph), graph.num_nodes)
    compare(calls, net, torch.randn(MANY, *nodes, 2, dtype=torch.float64))


@SETS
def test_merger(calls, removal):
    merge = trained(GraphMerger(3, 3, removal))
    nodes = len(removal), removal.num_nodes
    compare(calls, merge, torch.randn(MANY, *nodes, 3, dtype=torch.float64))


@SETS
def test_core(calls, removal):
    parts = SubgraphMask(removal), AdaptiveGraphUNet(2, 3, removal), GraphMerger(3, 3, removal)
    compare(calls, trained(nn.Sequential(*parts)), torch.randn(MANY, 21, 2).double(), runs=2)


@SETS
@pytest.mark.parametrize("channels", [2, 8])
def test_literal_merger(calls, removal, channels):
    """Its map over the nodes is part of the last stage, which gives fewer nodes then."""
    merge = trained(HypothesisGraphMerger(3, 3, removal, channels=channels))
    nodes = len(removal), removal.num_nodes
    compare(calls, merge, torch.randn(MANY, *nodes, 3, dtype=torch.float64))


@pytest.mark.parametrize("nodes", [None, (21, 4)])
@pytest.mark.parametrize("out_nodes", [1, 5, 40])
def test_map_behind_that_gives_fewer_nodes_or_more(calls, out_nodes, nodes):
    net, pool = unet(nodes=nodes), trained(NodePool(21, out_nodes))
    folded, x = FoldedUNet(net, pool), torch.randn(MANY, 21, 2, dtype=torch.float64)
    with kernels.disabled():
        expected = value_and_gradient(nn.Sequential(net, pool), x)
    assert_close(value_and_gradient(folded, x), expected, **EXACT)
    assert (calls["run_all"], calls["run_all_back"]) == (1, 1)


def test_masks_of_single_samples():
    net = unet(RAGGED)
    x = torch.randn(MANY, *RAGGED.node_mask.shape, 2).double()
    mask = torch.rand(x.shape[:-1]) < 0.6
    folded = fold(net)
    assert_close(folded(x, mask), net(x, mask), **EXACT)


def test_copies_compute_the_same(calls):
    net, x = unet(LEVELS), torch.randn(MANY, 4, 16, 2, dtype=torch.float64)
    folded = fold(net)
    expected = folded(x)
    for other in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert torch.equal(other(x), expected)
    fresh = fold(AdaptiveGraphUNet(2, 3, LEVELS).double())
    assert not torch.allclose(fresh(x), expected)
    fresh.load_state_dict(folded.state_dict())
    assert torch.equal(fresh(x), expected)
    with kernels.disabled():
        assert_close(fresh(x), expected, **EXACT)
    assert calls["run_all"] == 5


def test_maps_are_views_of_what_is_kept():
    folded = fold(unet(LEVELS))
    start = folded.merged.untyped_storage().data_ptr()
    maps = folded.maps()
    tensors = [maps.expand, maps.expand_bias, *maps.squeeze, *maps.decoder[0], *maps.encoder[1]]
    assert all(t.untyped_storage().data_ptr() == start for t in tensors)


def test_second_derivatives():
    net, x = fold(unet(nodes=(21, 4))), torch.randn(MANY, 21, 2, dtype=torch.float64)
    x.requires_grad_()
    found = []
    for switch in (torch.enable_grad, kernels.disabled):
        with switch():
            (first,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
            found.append(torch.autograd.grad(first.square().sum(), x)[0])
    assert_close(*found, **EXACT)
