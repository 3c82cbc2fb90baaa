"""The table of a net against the merged maps multiplied out: values, gradients, sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet
from handgraph.nn.folded_unet import dense_stages
from handgraph.nn.kernels.layout import layout
from handgraph.nn.kernels.sizes import Sizes
from handgraph.nn.kernels.stages import pack, stages_plan
from handgraph.nn.kernels.table import _table, _table_backward, net_table
from handgraph.nn.kernels.uses import Uses

RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
EXACT = {"rtol": 1e-12, "atol": 1e-12}
pytestmark = pytest.mark.usefixtures("exact")


def trained(net):
    """In double precision, as if after training; column sums stay positive."""
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    return net


def with_gradients(table, net):
    weights = torch.linspace(-1, 1, table.numel(), dtype=table.dtype).view_as(table)
    return table, torch.autograd.grad(table, list(net.parameters()), weights)


def assert_same_table(net):
    expected = with_gradients(pack(dense_stages(net.maps())), net)
    assert_close(with_gradients(net._table(), net), expected, **EXACT)


@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("graph", [HAND, RemovalSets.by_level(HAND), RAGGED], ids=repr)
def test_values_and_gradients(graph, normalization):
    assert_same_table(trained(AdaptiveGraphUNet(2, 3, graph, normalization=normalization)))


@given(
    nodes=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    channels=st.tuples(*[st.integers(1, 5)] * 4),
    branches=st.integers(1, 3),
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_ladder(nodes, channels, branches):
    """Also one that grows on the way down."""
    sets = RemovalSets.none(Skeleton.edgeless(nodes[0]), branches)
    ins, outs, width, bottleneck = channels
    net = AdaptiveGraphUNet(
        ins, outs, sets, nodes=nodes, channels=width, bottleneck_channels=bottleneck
    )
    assert_same_table(trained(net))
    assert net.plan == stages_plan(dense_stages(net.maps()))


def test_on_the_device(device):
    net = trained(AdaptiveGraphUNet(2, 3, RAGGED))
    expected = with_gradients(net._table(), net)
    net = net.float().to(device)
    table = net._table()
    weights = torch.linspace(-1, 1, table.numel(), device=device).view_as(table)
    found = table, torch.autograd.grad(table, list(net.parameters()), weights)
    assert_close(found[0].double().cpu(), expected[0], rtol=1e-5, atol=1e-6)
    for low, exact in zip(found[1], expected[1], strict=True):
        assert_close(low.double().cpu(), exact, rtol=1e-5, atol=1e-5)


def test_sizes_survive_being_integers():
    net = AdaptiveGraphUNet(2, 3, HAND, nodes=(21, 8, 3))
    sizes = Sizes.of(net._levels(), net._bottleneck())
    assert sizes == Sizes(1, 2, 3, 20, (21, 8, 3), (4, 8))
    assert Sizes.decode(sizes.encode()) == sizes
    parameters = [parameter for level in net._levels() for parameter in level]
    shapes = [shape for shapes in sizes.shapes() for shape in shapes]
    assert shapes == [tuple(p.shape) for p in (*parameters, *net._bottleneck())]


@given(index=st.lists(st.integers(0, 12), min_size=1, max_size=200), size=st.integers(1, 12))
def test_uses_are_added_up(index, size):
    index = torch.tensor([*index, 0])
    values = torch.arange(1.0, len(index) + 1)
    expected = torch.zeros(13).index_add(0, index, values)[:size]
    assert torch.equal(Uses.of(index, size)(values[:1], values[1:]), expected)


def test_nan_stays_in_its_branch():
    net = trained(AdaptiveGraphUNet(2, 3, RemovalSets.by_level(HAND)))
    with torch.no_grad():
        net.adjacency[1][2, 0, 0] = torch.nan
    assert net._table().isnan().any(dim=1).tolist() == [False, False, True, False]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own check reads it
def test_opcheck(device):
    sizes = Sizes(2, 2, 1, 2, (3, 2), (2,))
    count = sum(torch.Size(s).numel() for shapes in sizes.shapes() for s in shapes)
    flat = torch.rand(count, device=device, requires_grad=True)
    args = flat, sizes.encode(), "abs"
    torch.library.opcheck(_table, args)
    grad = torch.rand(2, sizes.plan.table_size, device=device)
    torch.library.opcheck(_table_backward, (grad, flat.detach(), *args[1:]))


def test_indices_are_made_once(device):
    net = AdaptiveGraphUNet(2, 3, HAND).to(device)
    net._table()
    before = layout.cache_info()
    net_table(net._levels(), net._bottleneck(), "abs")
    after = layout.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)
