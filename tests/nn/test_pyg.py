from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

from handgraph import COCO, HAND, INTERHAND, RHD, Skeleton
from handgraph.nn import from_dense, to_dense


@pytest.mark.parametrize("skeleton", [HAND, COCO, INTERHAND, Skeleton.edgeless(5)])
def test_dense_and_batch_are_inverse(skeleton):
    x = torch.rand(4, skeleton.num_joints, 3)
    batch = from_dense(x, skeleton)
    assert batch.num_graphs == 4
    assert batch.batch.tolist() == [b for b in range(4) for _ in skeleton.joints]
    assert torch.equal(to_dense(batch, skeleton), x)


def test_batch_has_the_edges_of_every_graph():
    batch = from_dense(torch.rand(3, 21, 2), HAND)
    for b in range(3):
        data = batch[b]
        assert torch.equal(data.edge_index, HAND.edge_index)
        assert data.num_nodes == 21


def test_leading_dimensions_are_flattened_in_order():
    x = torch.rand(2, 3, 21, 2)
    assert torch.equal(to_dense(from_dense(x, HAND), HAND), x.flatten(0, 1))
    assert to_dense(from_dense(x[0, 0], HAND), HAND).shape == (1, 21, 2)
    strided = torch.rand(21, 2, 5).permute(2, 0, 1)
    assert torch.equal(to_dense(from_dense(strided, HAND), HAND), strided)


def test_single_data_is_a_batch_of_one():
    x = torch.rand(21, 2)
    assert torch.equal(to_dense(HAND.to_data(x=x), HAND), x.unsqueeze(0))


def test_any_node_attribute_can_be_taken():
    hands = [
        HAND.to_data(uv=torch.rand(21, 2), visible=torch.rand(21) > 0.5, K=torch.eye(3)[None])
        for _ in range(3)
    ]
    batch = next(iter(DataLoader(hands, batch_size=3)))
    assert torch.equal(to_dense(batch, HAND, "uv"), torch.stack([h.uv for h in hands]))
    visible = to_dense(batch, HAND, "visible")
    assert visible.shape == (3, 21)
    assert visible.dtype == torch.bool
    assert batch.K.shape == (3, 3, 3)


def test_data_without_edges_is_not_checked():
    assert to_dense(Data(x=torch.rand(21, 2)), HAND).shape == (1, 21, 2)


def test_order_of_the_edges_does_not_matter():
    data = HAND.to_data(x=torch.rand(21, 2))
    data.edge_index = data.edge_index[:, torch.randperm(40)]
    assert torch.equal(to_dense(data, HAND)[0], data.x)


def test_gradients_pass_both_ways():
    x = torch.rand(2, 21, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 21, 2, dtype=torch.float64)
    (weights * to_dense(from_dense(x, HAND), HAND)).sum().backward()
    assert torch.equal(x.grad, weights)


def test_transforms_of_pyg_apply_in_between():
    batch = Compose([])(from_dense(torch.rand(2, 21, 2), HAND))
    assert to_dense(batch, HAND).shape == (2, 21, 2)


def test_other_skeletons_are_errors():
    batch = from_dense(torch.rand(2, 21, 2), RHD)
    with pytest.raises(ValueError, match=r"the edges are not those of HAND: expected 2 x 40"):
        to_dense(batch, HAND)
    with pytest.raises(ValueError, match=r"expected 2 graphs of 17 joints \(COCO\), got 42 nodes"):
        to_dense(batch, COCO)
    edgeless = Skeleton.edgeless(21).to_data(x=torch.rand(21, 2))
    with pytest.raises(ValueError, match=r"the edges are not those of HAND: .* got 0"):
        to_dense(edgeless, HAND)


def test_graphs_of_different_sizes_are_errors():
    sizes = [Skeleton.edgeless(20), Skeleton.edgeless(22)]
    batch = Batch.from_data_list([s.to_data(x=torch.rand(s.num_joints, 2)) for s in sizes])
    with pytest.raises(ValueError, match=r"the edges are not those of HAND"):
        to_dense(batch, HAND)


@pytest.mark.parametrize(
    ("key", "came"), [("s", r"\[1\]"), ("scalar", r"\[\]"), ("name", "str"), ("nope", "NoneType")]
)
def test_attributes_that_are_not_of_nodes_raise(key, came):
    data = HAND.to_data(s=torch.ones(1), scalar=torch.tensor(1.0), name="left")
    with pytest.raises(ValueError, match=f"got 21 nodes and '{key}' {came}$"):
        to_dense(data, HAND, key)


@pytest.mark.parametrize("shape", [(2, 20, 2), (21,), ()])
def test_dense_that_does_not_fit_is_an_error(shape):
    with pytest.raises(ValueError, match=r"from_dense: expected \[\*, 21, C\] for the 21 joints"):
        from_dense(torch.rand(shape), HAND)


def test_no_pose_at_all_is_an_error():
    with pytest.raises(ValueError, match=r"expected at least one graph, got \[0, 21, 2\]"):
        from_dense(torch.rand(0, 21, 2), HAND)
