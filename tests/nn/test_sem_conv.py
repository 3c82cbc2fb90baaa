from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import COCO, H36M, HAND, RemovalSets, Skeleton
from handgraph.nn import SemGraphConv

ISLANDS = RemovalSets(HAND, {"PIP": "PIP", "MCP": "MCP"}).subgraph("PIP", "induced")


def twin(conv, x, skeleton):
    """Compute Eq. 2 of the paper (Eq. 3 if channelwise) joint by joint and channel by channel."""
    neighbors = {joint: {joint} for joint in skeleton.joints}
    for u, v in skeleton.edges:
        neighbors[u].add(v)
        neighbors[v].add(u)
    rows = {}
    for row, (source, target) in enumerate(conv.link.t().tolist()):
        rows[skeleton.joints[target], skeleton.joints[source]] = row
    own, other = conv.lin_self.weight.tolist(), conv.lin_neighbor.weight.tolist()
    logits = conv.edge_logit.tolist()
    out = [[0.0] * conv.out_channels for _ in skeleton.joints]
    for i, target in enumerate(skeleton.joints):
        for c in range(conv.out_channels):
            e = {j: logits[rows[target, j]][c % len(logits[0])] for j in neighbors[target]}
            total = sum(math.exp(value) for value in e.values())
            out[i][c] = conv.bias[c].item()
            for j, value in e.items():
                weight = own[c] if j == target else other[c]
                features = x[skeleton.index(j)].tolist()
                mapped = sum(w * f for w, f in zip(weight, features, strict=True))
                out[i][c] += math.exp(value) / total * mapped
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize(
    "skeleton", [HAND, COCO, ISLANDS, Skeleton.edgeless(3), Skeleton.edgeless(1)],
    ids=lambda s: s.name,
)  # fmt: skip
def test_values_meet_the_paper(skeleton, channelwise):
    conv = SemGraphConv(2, 3, skeleton, channelwise=channelwise).double()
    nn.init.normal_(conv.edge_logit)
    x = torch.randn(skeleton.num_joints, 2, dtype=torch.float64)
    expected = twin(conv, x, skeleton)
    assert_close(conv(x, skeleton.edge_index), expected, rtol=1e-12, atol=1e-12)


def test_number_of_parameters():
    def count(*args, **kwargs):
        return sum(p.numel() for p in SemGraphConv(*args, **kwargs).parameters())

    edges = 2 * 16 + 17  # both directions of H36M's 16 edges, and 17 joints
    assert count(2, 128, H36M) == 2 * 2 * 128 + edges + 128
    assert count(2, 128, H36M, bias=False) == 2 * 2 * 128 + edges
    assert count(2, 128, H36M, channelwise=True) == 2 * 2 * 128 + 128 * edges + 128


def test_untrained_layer_averages_over_neighbours():
    conv = SemGraphConv(1, 1, HAND, bias=False)
    for lin in (conv.lin_self, conv.lin_neighbor):
        nn.init.ones_(lin.weight)
    x = torch.randn(21, 1)
    linked = HAND.adjacency() + torch.eye(21)
    assert_close(conv(x, HAND.edge_index), linked @ x / linked.sum(1, keepdim=True))


@pytest.mark.parametrize("channelwise", [False, True])
def test_adjacency_equals_the_weights_of_the_layer(channelwise):
    conv = SemGraphConv(21, 5, HAND, channelwise=channelwise, bias=False)
    nn.init.normal_(conv.edge_logit)
    conv.lin_neighbor.weight = conv.lin_self.weight
    adjacency = conv.adjacency()
    assert adjacency.shape == ((5, 21, 21) if channelwise else (21, 21))
    assert_close(adjacency.sum(dim=-1), torch.ones(adjacency.shape[:-1]))
    x = torch.randn(21, 21)
    expected = (adjacency @ conv.lin_self(x).t().unsqueeze(-1)) if channelwise else None
    expected = expected.squeeze(-1).t() if channelwise else adjacency @ conv.lin_self(x)
    assert_close(conv(x, HAND.edge_index), expected)


def test_joint_depends_only_on_its_neighbours():
    conv, x = SemGraphConv(2, 4, HAND), torch.randn(21, 2, requires_grad=True)
    near = HAND.adjacency(dtype=torch.bool) | torch.eye(21, dtype=torch.bool)
    for i in range(21):
        (gradient,) = torch.autograd.grad(conv(x, HAND.edge_index)[i].sum(), x)
        assert torch.equal((gradient != 0).any(dim=1), near[i])
        missing = x.detach().index_fill(0, torch.tensor(i), torch.nan)
        assert torch.equal(conv(missing, HAND.edge_index).isnan().all(dim=1), near[i])


def test_matrices_are_drawn_within_xaviers_bounds():
    conv = SemGraphConv(100, 200, HAND)
    bound = 2**0.5 * (6 / 300) ** 0.5
    for lin in (conv.lin_self, conv.lin_neighbor):
        assert bound * 0.99 < lin.weight.abs().max() <= bound
    assert 0.9 < conv.bias.abs().max() * 200**0.5 <= 1
    assert (conv.edge_logit == 1).all()
