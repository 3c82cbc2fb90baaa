"""The table of a net against the merged maps multiplied out: values, gradients, sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet
from handgraph.nn.folded_unet import dense_stages
from handgraph.nn.kernels.layout import layout
from handgraph.nn.kernels.program import program
from handgraph.nn.kernels.sizes import Sizes
from handgraph.nn.kernels.stages import pack, stages_plan
from handgraph.nn.kernels.table import _table, _table_backward, net_table
from handgraph.nn.kernels.terms import COLUMNS, SIZE, Terms

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
    """Of a weighting that is exact in every dtype."""
    eighths = torch.randint(-8, 9, table.shape, generator=torch.manual_seed(0))
    weights = (eighths / 8).to(table)
    return table, torch.autograd.grad(table, list(net.parameters()), weights)


def assert_same_table(net):
    expected = with_gradients(pack(dense_stages(net.maps())), net)
    assert_close(with_gradients(net._table(), net), expected, **EXACT)


@pytest.mark.parametrize("normalization", ["abs", "signed"])
@pytest.mark.parametrize("graph", [HAND, RemovalSets.by_level(HAND), RAGGED], ids=repr)
def test_values_and_gradients(graph, normalization):
    assert_same_table(trained(AdaptiveGraphUNet(2, 3, graph, normalization=normalization)))


def test_entries_of_any_sign():
    """Where an entry is 0, its absolute value has the derivative 0."""
    net = trained(AdaptiveGraphUNet(2, 3, HAND))
    with torch.no_grad():
        for adjacency in net.adjacency:
            adjacency.copy_(torch.randint(-1, 2, adjacency.shape)).mul_(torch.rand(adjacency.shape))
    assert_same_table(net)


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
    found = with_gradients(net._table(), net)
    assert_close(found[0].double().cpu(), expected[0], rtol=1e-5, atol=1e-6)
    for low, exact in zip(found[1], expected[1], strict=True):
        assert_close(low.double().cpu(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(device, dtype):
    """Numbers are rounded where they come and go, and nowhere between."""
    net = trained(AdaptiveGraphUNet(2, 3, RAGGED)).to(device, dtype)
    exact = copy.deepcopy(net).double().cpu()
    table, gradients = with_gradients(net._table(), net)
    expected, exact_gradients = with_gradients(exact._table(), exact)
    for found, twin in zip([table, *gradients], [expected, *exact_gradients], strict=True):
        assert found.dtype == dtype
        close = {"rtol": 0, "atol": torch.finfo(dtype).eps * twin.abs().max().item()}
        assert_close(found.double().cpu(), twin, **close)


@pytest.mark.parametrize("nodes", [(8, 4, 6), (8, 4, 7), (16, 15), (16, 16), (17, 2)])
def test_sizes_around_those_of_blocks(nodes):
    """Adjacencies of 16 and 17 nodes, multiplied with 16 and 17 columns."""
    net = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(nodes[0]), nodes=nodes, channels=1)
    assert_same_table(trained(net))


@pytest.mark.parametrize(("count", "taken"), [(64, True), (65, False)])
def test_largest_skeleton(count, taken):
    net = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(count), nodes=(count, 2), channels=1)
    assert (net.plan is not None) is taken
    if taken:
        assert_same_table(trained(net))


def test_largest_number_of_branches():
    sizes = AdaptiveGraphUNet(2, 3, HAND).sizes
    most = 2**29 // sizes.plan.table_size
    assert sizes._replace(branches=most).is_small()
    assert not sizes._replace(branches=most + 1).is_small()


def test_sizes_survive_being_integers():
    net = AdaptiveGraphUNet(2, 3, HAND, nodes=(21, 8, 3))
    sizes = Sizes.of(net._levels(), net._bottleneck())
    assert sizes == Sizes(1, 2, 3, 20, (21, 8, 3), (4, 8))
    assert Sizes.decode(sizes.encode()) == sizes
    parameters = [parameter for level in net._levels() for parameter in level]
    shapes = [shape for shapes in sizes.shapes() for shape in shapes]
    assert shapes == [tuple(p.shape) for p in (*parameters, *net._bottleneck())]


def added_up(listed, left, right, size):
    """What the kernel does, one program and one term after the other."""
    out = torch.full((size,), torch.nan, dtype=left.dtype)
    for columns, first, last, begin in listed.tiles.tolist():
        rows = SIZE // columns
        places = torch.arange(first, last).view(-1, rows, columns)
        values = [
            torch.where(at >= 0, factor[at.clamp(min=0)], other)
            for factor, other, at in (
                (left, 0.0, listed.left[places]),
                (right, 1.0, listed.right[places]),
            )
        ]
        sums, which = (values[0] * values[1]).sum((0, 2)), listed.sums[begin : begin + rows]
        out[which[which >= 0]] = sums[which >= 0]
    return out


@given(
    counts=st.lists(st.sampled_from([0, 1, 3, 8, 9, 64, 65, 600]), min_size=1, max_size=30),
    seed=st.integers(0, 9),
)
def test_terms_are_added_up(counts, seed):
    counts = torch.tensor(counts)
    entries = torch.arange(len(counts)).repeat_interleave(counts)
    entries = entries[torch.randperm(len(entries), generator=torch.manual_seed(seed))]
    left, right = torch.randint(0, 9, (len(entries),)), torch.randint(-1, 9, (len(entries),))
    values = torch.randn(2, 9, dtype=torch.float64)
    expected = torch.zeros(len(counts), dtype=torch.float64)
    products = values[0][left] * torch.where(right < 0, 1.0, values[1][right])
    expected.index_add_(0, entries, products)
    found = added_up(Terms.of(entries, left, right, len(counts)), *values, len(counts))
    assert_close(found, expected, **EXACT)


def test_sums_of_about_equal_length_are_added_together():
    entries = torch.arange(600).repeat_interleave(torch.tensor([1, 700]).repeat(300))
    listed = Terms.of(entries, entries, entries, 600)
    steps = (listed.tiles[:, 2] - listed.tiles[:, 1]) // SIZE
    assert listed.tiles[:, 0].tolist() == [COLUMNS[0]] + 300 * [COLUMNS[-1]]
    assert steps.tolist() == [1] + 300 * [2]


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
    table, merged = _table(*args)
    grad = torch.rand_like(table)
    torch.library.opcheck(_table_backward, (grad, flat.detach(), merged, *args[1:]))


def test_indices_are_made_once(device):
    net = AdaptiveGraphUNet(2, 3, HAND).to(device)
    net._table()
    before = layout.cache_info()
    net_table(net._levels(), net._bottleneck(), "abs")
    after = layout.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


class Operations(TorchDispatchMode):
    """Those of this thread, whose memory is a CUDA graph's while there is one."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))


def test_what_is_kept_is_not_made_in_the_memory_of_a_graph(device):
    net = AdaptiveGraphUNet(2, 3, HAND)
    program.cache_clear()
    layout.cache_clear()
    with Operations() as operations:
        lists, indices = program(net.plan, device), layout(net.sizes, device)
    assert not operations.names
    assert {t.device.type for t in (*lists[:5], *indices.table)} == {device.type}
