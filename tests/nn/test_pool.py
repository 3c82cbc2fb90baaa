from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph.nn import NodeMap, NodePool
from handgraph.testing import assert_compiles

MASK = torch.tensor([[True, True, True, True], [True, False, True, False]])


def test_pool_is_linear_over_the_nodes():
    pool, lin = NodePool(5, 3), nn.Linear(5, 3)
    state = pool.state_dict()
    lin.load_state_dict({"weight": state["weight"], "bias": state["bias"].flatten()})
    x = torch.randn(2, 5, 4)
    assert_close(pool(x), lin(x.transpose(1, 2)).transpose(1, 2))


def test_map_and_bias_are_all_that_the_layer_does():
    for pool, x in [
        (NodePool(5, 3), torch.randn(2, 5, 4)),
        (NodePool(4, 3, node_mask=MASK), torch.randn(6, 2, 4, 3)),
    ]:
        assert_close(pool.node_map()(x), pool(x))
    matrix, bias = NodePool(5, 3).node_map()
    assert matrix.shape == (3, 5)
    assert bias.shape == (3, 1)


def test_maps_compose():
    first, second, third = NodePool(5, 3), NodePool(3, 7), NodePool(7, 2)
    x = torch.randn(2, 5, 4)
    one = third.node_map().after(second.node_map()).after(first.node_map())
    assert_close(one(x), third(second(first(x))))
    other = third.node_map().after(second.node_map().after(first.node_map()))
    assert_close(other.matrix, one.matrix)
    assert_close(other.bias, one.bias)


def test_map_applies_matrix_then_bias():
    map_ = NodeMap(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
    assert map_(torch.tensor([[1.0, 0.0], [10.0, 0.0]])).tolist() == [[24.0, 3.0]]


def test_map_passes_gradients_to_the_parameters():
    pool = NodePool(4, 3, node_mask=MASK)
    matrix, bias = pool.node_map()
    (matrix.sum() + bias.sum()).backward()
    assert torch.equal(pool.weight.grad, MASK[:, None].expand(2, 3, 4).float())
    assert (pool.bias.grad == 1).all()


def test_masked_branches_equal_separate_layers():
    pool = NodePool(4, 3, node_mask=MASK)
    x = torch.randn(5, 2, 4, 2)
    for n in range(2):
        alone = NodePool(int(MASK[n].sum()), 3)
        alone.load_state_dict({"weight": pool.weight[n][:, MASK[n]], "bias": pool.bias[n]})
        assert_close(pool(x)[:, n], alone(x[:, n][:, MASK[n]]))


def test_masked_nodes_have_no_influence_even_if_nan():
    pool = NodePool(4, 3, node_mask=MASK)
    x = torch.randn(5, 2, 4, 2)
    poisoned = x.masked_fill(~MASK.unsqueeze(-1), torch.nan).requires_grad_()
    y = pool(poisoned)
    assert torch.equal(y, pool(x))
    y.sum().backward()
    assert (poisoned.grad[:, ~MASK] == 0).all()
    assert (pool.weight.grad[1][:, ~MASK[1]] == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_parameters_start_as_those_of_torch(masked):
    counts = [4, 25, 100]
    mask = torch.arange(100) < torch.tensor(counts).unsqueeze(1)
    pool = NodePool(100, 500, node_mask=mask if masked else None)
    weights = pool.weight if masked else pool.weight.unsqueeze(0)
    biases = pool.bias if masked else pool.bias.unsqueeze(0)
    for weight, bias, count in zip(weights, biases, counts if masked else [100], strict=True):
        bound = nn.Linear(count, 500).weight.abs().max().item()
        assert weight[:, :count].abs().max().item() == pytest.approx(bound, rel=0.02)
        assert weight[:, :count].std().item() == pytest.approx((3 * count) ** -0.5, rel=0.05)
        assert bias.std().item() == pytest.approx((3 * count) ** -0.5, rel=0.08)
        assert bias.abs().max() <= count**-0.5


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_any_leading_dimensions(lead, masked):
    pool = NodePool(4, 3, node_mask=MASK if masked else None)
    nodes = (2, 4) if masked else (4,)
    x = torch.randn(*lead, *nodes, 5)
    y = pool(x)
    assert y.shape == (*lead, *nodes[:-1], 3, 5)
    flat = y.reshape(-1, *nodes[:-1], 3, 5)
    for sample, expected in zip(x.reshape(-1, *nodes, 5), flat, strict=True):
        assert_close(pool(sample), expected)


def test_strides_do_not_matter():
    pool = NodePool(5, 3)
    x = torch.randn(4, 5, 2).permute(2, 1, 0)
    assert_close(pool(x), pool(x.contiguous()))


def test_gradcheck():
    pool = NodePool(4, 3, node_mask=MASK).double()
    x = torch.randn(1, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(pool, (x,))


def test_compiled_equals_eager():
    assert_compiles(NodePool(4, 3, node_mask=MASK), torch.randn(3, 2, 4, 2))


def test_copies_compute_the_same():
    pool, x = NodePool(4, 3, node_mask=MASK), torch.randn(5, 2, 4, 2)
    loaded = NodePool(4, 3, node_mask=MASK)
    loaded.load_state_dict(pool.state_dict())
    for other in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool)), loaded):
        assert torch.equal(other(x), pool(x))
    assert set(pool.state_dict()) == {"weight", "bias"}


def test_invalid_sizes_and_masks_raise():
    with pytest.raises(ValueError, match=r"NodePool: expected positive sizes, got in_nodes=0"):
        NodePool(0, 3)
    with pytest.raises(ValueError, match=r"NodePool: expected positive sizes, got .* out_nodes=-1"):
        NodePool(3, -1)
    for mask in (MASK, MASK[0]):
        with pytest.raises(ValueError, match=r"NodePool: expected node_mask \[N, 5\], got"):
            NodePool(5, 3, node_mask=mask)
    with pytest.raises(TypeError, match="node_mask of NodePool as torch.bool, got torch.float32"):
        NodePool(4, 3, node_mask=MASK.float())
    with pytest.raises(ValueError, match=r"node_mask with a node in every branch"):
        NodePool(4, 3, node_mask=torch.tensor([[True] * 4, [False] * 4]))


@pytest.mark.parametrize("shape", [(2, 4, 3), (5,), ()])
def test_input_that_does_not_fit_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected \[\*, 5, C\] for NodePool\(5, 3\), got"):
        NodePool(5, 3)(torch.ones(shape))


@pytest.mark.parametrize("shape", [(8, 1, 4, 3), (4, 3), (8, 2, 5, 3)])
def test_input_of_other_branches_is_an_error(shape):
    with pytest.raises(ValueError, match=r"expected \[\*, 2, 4, C\]"):
        NodePool(4, 3, node_mask=MASK)(torch.ones(shape))


def test_repr_shows_sizes():
    assert repr(NodePool(21, 11)) == "NodePool(21, 11)"
