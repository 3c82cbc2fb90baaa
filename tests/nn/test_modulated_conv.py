from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import COCO, H36M, HAND, RemovalSets, Skeleton
from handgraph.nn import ModulatedGraphConv

ISLANDS = RemovalSets(HAND, {"PIP": "PIP", "MCP": "MCP"}).subgraph("PIP", "induced")


def twin(conv, x, skeleton):
    """Compute the paper's layer joint by joint."""
    joints = skeleton.num_joints
    linked = [[0.0] * joints for _ in range(joints)]
    for u, v in skeleton.edges:
        linked[skeleton.index(u)][skeleton.index(v)] = 1.0
        linked[skeleton.index(v)][skeleton.index(u)] = 1.0
    free = conv.affinity_modulation.tolist()
    a = [
        [linked[i][j] / max(sum(linked[i]), 1) + (i == j) + free[i][j] for j in range(joints)]
        for i in range(joints)
    ]
    out = []
    for i in range(joints):
        y = conv.bias.clone()
        for j in range(joints):
            lin = conv.lin_self if i == j else conv.lin_neighbor
            y = y + (a[i][j] + a[j][i]) / 2 * conv.weight_modulation[j] * (lin.weight @ x[j])
        out.append(y)
    return torch.stack(out)


@pytest.mark.parametrize(
    "skeleton", [HAND, COCO, ISLANDS, Skeleton.edgeless(3), Skeleton.edgeless(1)],
    ids=lambda s: s.name,
)  # fmt: skip
@torch.no_grad()
def test_values_meet_the_paper(skeleton):
    conv = ModulatedGraphConv(2, 3, skeleton)
    nn.init.normal_(conv.weight_modulation)
    nn.init.normal_(conv.affinity_modulation)
    conv = conv.double()
    x = torch.randn(skeleton.num_joints, 2, dtype=torch.float64)
    assert_close(conv(x, skeleton.edge_index), twin(conv, x, skeleton), rtol=1e-6, atol=1e-6)


def test_number_of_parameters():
    conv = ModulatedGraphConv(2, 128, H36M)
    assert sum(p.numel() for p in conv.parameters()) == 2 * 2 * 128 + 17 * 128 + 17 * 17 + 128


def test_untrained_layer_mixes_only_neighbouring_joints():
    conv, x = ModulatedGraphConv(2, 4, HAND), torch.randn(21, 2, requires_grad=True)
    linked = HAND.adjacency(dtype=torch.bool) | torch.eye(21, dtype=torch.bool)
    assert torch.equal(conv.adjacency() != 0, linked)
    for i in range(21):
        (gradient,) = torch.autograd.grad(conv(x, HAND.edge_index)[i].sum(), x)
        assert torch.equal((gradient != 0).any(dim=1), linked[i])


def test_learned_adjacency_can_connect_all_joints():
    conv, x = ModulatedGraphConv(2, 4, HAND), torch.randn(21, 2)
    conv(x, HAND.edge_index).square().sum().backward()
    assert (conv.affinity_modulation.grad != 0).all()


def test_adjacency_is_symmetric_by_hand():
    pair = Skeleton.from_parents("pair", {"a": None, "b": "a", "c": "b"})
    conv = ModulatedGraphConv(2, 4, pair)
    with torch.no_grad():
        conv.affinity_modulation.copy_(torch.tensor([[0.0, 0, 6], [0, 0, 0], [2, 0, 1]]))
    mean = (1 + 1 / 2) / 2
    expected = torch.tensor([[1, mean, 4], [mean, 1, mean], [4, mean, 1 + 1]])
    assert_close(conv.adjacency(), expected)


def test_parameters_start_without_modulation():
    conv = ModulatedGraphConv(100, 200, HAND)
    bound = 2**0.5 * (6 / 300) ** 0.5
    for lin in (conv.lin_self, conv.lin_neighbor):
        assert bound * 0.99 < lin.weight.abs().max() <= bound
    assert 0.9 < conv.bias.abs().max() * 200**0.5 <= 1
    assert (conv.weight_modulation == 1).all()
    assert (conv.affinity_modulation == 0).all()


def test_the_published_adjacency_by_hand():
    """Neighbours are averaged, and each joint is added in full: ``D^-1 A + I``."""
    row = ModulatedGraphConv(2, 4, HAND).skeleton_adjacency[HAND.index("wrist")]
    assert row[HAND.index("wrist")] == 1
    assert_close(row[HAND.select("MCP")], torch.full((5,), 0.2))
