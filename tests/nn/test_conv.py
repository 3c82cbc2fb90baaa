from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_dense_adj

from handgraph import COCO, HAND, RHD
from handgraph.nn import AdaptiveGraphConv, BranchLinear, normalize_adjacency
from handgraph.testing import assert_compiles, assert_relabelling, assert_static_matches_disjoint


def loops(adj, signed):
    """Compute the formula entry by entry."""
    n = len(adj)
    degree = [
        1e-5 + sum(adj[i][j] if signed else abs(adj[i][j]) for i in range(n)) for j in range(n)
    ]
    return [[adj[i][j] / (degree[i] * degree[j]) ** 0.5 for j in range(n)] for i in range(n)]


# The normalisation


@settings(max_examples=60)
@given(st.data(), st.integers(1, 4))
def test_normalization_meets_loops(data, n):
    row = st.lists(st.floats(-8, 8), min_size=n, max_size=n)
    adj = data.draw(st.lists(row, min_size=n, max_size=n))
    ours = normalize_adjacency(torch.tensor(adj, dtype=torch.float64))
    expected = torch.tensor(loops(adj, signed=False), dtype=torch.float64)
    assert_close(ours, expected, rtol=1e-10, atol=1e-12)


def test_signed_normalization_meets_loops():
    adj = torch.eye(5, dtype=torch.float64) + 0.3 * torch.rand(5, 5, dtype=torch.float64) - 0.1
    expected = torch.tensor(loops(adj.tolist(), signed=True), dtype=torch.float64)
    assert_close(normalize_adjacency(adj, "signed"), expected, rtol=1e-12, atol=1e-12)
    assert normalize_adjacency(-adj, "signed").isnan().any()
    assert_close(normalize_adjacency(-adj), -normalize_adjacency(adj))


def test_degree_is_of_columns_not_rows():
    adj = torch.tensor([[1.0, 3.0], [0.0, 1.0]])
    expected = torch.tensor([[1.0, 1.5], [0.0, 0.25]])
    assert_close(normalize_adjacency(adj), expected, rtol=1e-4, atol=1e-6)


def test_zero_adjacency_stays_zero():
    assert (normalize_adjacency(torch.zeros(3, 3)) == 0).all()


def test_nan_in_the_adjacency_is_not_hidden():
    adj = torch.eye(3)
    adj[0, 1] = torch.nan
    assert normalize_adjacency(adj)[0, 1].isnan()


def test_normalization_passes_gradcheck():
    adj = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(normalize_adjacency, (adj,))


# The convolution


def test_conv_meets_loops():
    conv = AdaptiveGraphConv(2, 3).double().requires_grad_(False)
    x, adj = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 5, dtype=torch.float64)
    matrix = loops(adj.tolist(), signed=False)
    mixed = [[sum(matrix[i][j] * x[j][c] for j in range(5)) for c in range(2)] for i in range(5)]
    expected = [
        [conv.lin.bias[d] + sum(conv.lin.weight[d][c] * row[c] for c in range(2)) for d in range(3)]
        for row in mixed
    ]
    assert_close(conv(x, adj), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_conv_over_a_skeleton_is_gcn():
    """For 0/1 adjacencies with self-loops, the formula is that of Kipf and Welling."""
    gcn, conv = GCNConv(2, 4).double(), AdaptiveGraphConv(2, 4).double()
    with torch.no_grad():
        conv.lin.weight.copy_(gcn.lin.weight)
        conv.lin.bias.copy_(torch.randn(4))
        gcn.bias.copy_(conv.lin.bias)
    x = torch.randn(3, 21, 2, dtype=torch.float64)
    adj = HAND.adjacency(dtype=torch.float64) + torch.eye(21, dtype=torch.float64)
    assert_close(conv(x, adj), gcn(x, HAND.edge_index), rtol=1e-4, atol=1e-4)  # eps is 1e-5


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
def test_any_leading_dimensions(lead):
    conv, x, adj = AdaptiveGraphConv(2, 4), torch.randn(*lead, 21, 2), torch.rand(21, 21)
    y = conv(x, adj)
    assert y.shape == (*lead, 21, 4)
    for sample, expected in zip(x.reshape(-1, 21, 2), y.reshape(-1, 21, 4), strict=True):
        assert_close(conv(sample, adj), expected)


def test_every_sample_may_have_its_own_adjacency():
    conv, x, adj = AdaptiveGraphConv(2, 4), torch.randn(3, 5, 2), torch.randn(3, 5, 5)
    expected = torch.stack([conv(x[b], adj[b]) for b in range(3)])
    assert_close(conv(x, adj), expected)


def test_branches_are_convolutions_side_by_side():
    stack = AdaptiveGraphConv(2, 4, num_branches=3).double()
    x = torch.randn(6, 3, 5, 2, dtype=torch.float64)
    adj = torch.randn(3, 5, 5, dtype=torch.float64)
    for n in range(3):
        alone = AdaptiveGraphConv(2, 4).double()
        alone.load_state_dict({name: value[n] for name, value in stack.state_dict().items()})
        assert_close(stack(x, adj)[:, n], alone(x[:, n], adj[n]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("skeleton", [HAND, COCO], ids=lambda s: s.name)
def test_conv_depends_on_the_graph_and_not_on_joint_indices(skeleton):
    conv = AdaptiveGraphConv(2, 4)

    def layer(x, skeleton):
        return conv(x, skeleton.adjacency() + torch.eye(skeleton.num_joints))

    assert_relabelling(layer, skeleton, in_channels=2)


def test_learned_adjacency_may_be_permuted_too():
    conv, x, adj = AdaptiveGraphConv(2, 4), torch.randn(3, 21, 2), torch.randn(21, 21)
    order = RHD.index_from(HAND)
    assert_close(conv(x[:, order], adj[order][:, order]), conv(x, adj)[:, order])


def test_static_and_disjoint_graphs_agree():
    conv = AdaptiveGraphConv(2, 4)
    assert_static_matches_disjoint(lambda x, e: conv(x, to_dense_adj(e)[0]), HAND, in_channels=2)


def test_strides_do_not_matter():
    conv = AdaptiveGraphConv(2, 4)
    x, adj = torch.randn(2, 5, 3).permute(2, 1, 0), torch.randn(10, 5)[::2].t()
    assert_close(conv(x, adj), conv(x.contiguous(), adj.contiguous()))


def test_conv_passes_gradcheck():
    conv = AdaptiveGraphConv(2, 3).double()
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    adj = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(conv, (x, adj))


def test_compiled_equals_eager():
    conv = AdaptiveGraphConv(2, 3, num_branches=2)
    assert_compiles(conv, torch.randn(3, 2, 5, 2), torch.randn(2, 5, 5))


def test_copies_compute_the_same():
    conv, x, adj = AdaptiveGraphConv(2, 3), torch.randn(5, 2), torch.randn(5, 5)
    loaded = AdaptiveGraphConv(2, 3)
    loaded.load_state_dict(conv.state_dict())
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv)), loaded):
        assert torch.equal(other(x, adj), conv(x, adj))


def test_reset_parameters_depends_on_the_seed():
    torch.manual_seed(1)
    conv = AdaptiveGraphConv(2, 3)
    before = conv.lin.weight.clone()
    conv.reset_parameters()
    assert not torch.equal(conv.lin.weight, before)
    torch.manual_seed(1)
    conv.reset_parameters()
    assert torch.equal(conv.lin.weight, before)


# A linear layer per branch


def test_linear_without_branches_is_that_of_torch():
    ours, theirs = BranchLinear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 4)
    assert_close(ours(x), theirs(x))
    assert_close(ours(x[0, 0]), theirs(x[0, 0]))


def test_linear_draws_from_the_distribution_of_torch():
    ours, theirs = BranchLinear(100, 200, num_branches=3), nn.Linear(100, 200)
    for mine, other in [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]:
        assert mine.abs().max() <= 0.1
        assert other.abs().max() <= 0.1
        assert mine.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.06)
        assert mine.mean().item() == pytest.approx(0, abs=0.01)


def test_linear_branches_are_layers_side_by_side():
    stack = BranchLinear(4, 3, num_branches=2)
    x = torch.randn(5, 2, 6, 4)
    for n in range(2):
        expected = nn.functional.linear(x[:, n], stack.weight[n], stack.bias[n])
        assert_close(stack(x)[:, n], expected)


# Errors and repr


def test_sizes_that_are_not_positive_are_errors():
    for sizes in [(0, 3, None), (2, 0, None), (2, 3, 0), (2, 3, -1)]:
        with pytest.raises(ValueError, match=r"BranchLinear: expected positive sizes, got in_chan"):
            BranchLinear(*sizes)
    with pytest.raises(ValueError, match=r"expected positive sizes"):
        AdaptiveGraphConv(2, 0)


def test_unknown_normalizations_are_errors():
    message = r"normalization: expected 'abs' or 'signed', got 'softmax'"
    with pytest.raises(ValueError, match=message):
        normalize_adjacency(torch.eye(3), "softmax")
    with pytest.raises(ValueError, match=message):
        AdaptiveGraphConv(2, 3, normalization="softmax")


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 4), ()])
def test_adjacencies_that_are_not_square_are_errors(shape):
    with pytest.raises(ValueError, match=r"adj: expected \[\*, J, J\], got \["):
        normalize_adjacency(torch.ones(shape))


@pytest.mark.parametrize(
    ("x", "adj"),
    [((5, 3), (5, 5)), ((5, 2), (4, 4)), ((5, 2), (1, 5)), ((5, 2), (5,)), ((2,), (2, 2)),
     ((), (2, 2)), ((1, 2), (5, 5))],
)  # fmt: skip
def test_input_that_does_not_fit_is_an_error(x, adj):
    message = r"x of AdaptiveGraphConv: expected \[\*, J, 2\], got \["
    if x[-1:] == (2,) and len(x) == 2:
        message = rf"adj of AdaptiveGraphConv: expected \[\*, {x[0]}, {x[0]}\], got \["
    with pytest.raises(ValueError, match=message):
        AdaptiveGraphConv(2, 4)(torch.ones(x), torch.ones(adj))


@pytest.mark.parametrize("shape", [(8, 1, 5, 2), (5, 2), (8, 5, 2)])
def test_input_of_other_branches_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected \[\*, 4, K, 2\] for BranchLinear.*, got"):
        AdaptiveGraphConv(2, 3, num_branches=4)(torch.ones(shape), torch.eye(5))


@pytest.mark.parametrize("shape", [(8, 3), (), (8, 2, 1)])
def test_linear_input_of_other_channels_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected \[\*, 2\] for BranchLinear\(2, 3\), got"):
        BranchLinear(2, 3)(torch.ones(shape))


def test_repr_shows_sizes():
    assert repr(AdaptiveGraphConv(2, 4)) == "AdaptiveGraphConv(2, 4)"
    assert repr(BranchLinear(2, 4)) == "BranchLinear(2, 4)"
    assert repr(BranchLinear(2, 4, 3)) == "BranchLinear(2, 4, num_branches=3)"
