from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import COCO, HAND, RemovalSets, Skeleton
from handgraph.nn import AGCNConv, skeleton_partitions

Y = Skeleton.from_parents("Y", {"stem": None, "knot": "stem", "left": "knot", "right": "knot"})
ISLANDS = RemovalSets(HAND, {"PIP": "PIP", "MCP": "MCP"}).subgraph("PIP", "induced")


def twin(conv, x, skeleton):
    """Compute Eq. 3 of the paper part by part, with the scaled similarity of its code."""
    parts, joints, width = len(conv.learned), skeleton.num_joints, conv.embedding_channels
    weights = conv.lin.weight.chunk(parts)
    theta, t = conv.lin_source.weight.chunk(parts), conv.lin_source.bias.chunk(parts)
    phi, p = conv.lin_target.weight.chunk(parts), conv.lin_target.bias.chunk(parts)
    out = [conv.bias.clone() for _ in range(joints)]
    for k, fixed in enumerate(skeleton_partitions(skeleton).tolist()):
        for i in range(joints):
            target = phi[k] @ x[i] + p[k]
            e = [math.exp((theta[k] @ x[j] + t[k]) @ target / width) for j in range(joints)]
            for j in range(joints):
                entry = fixed[i][j] + conv.learned[k, i, j] + e[j] / sum(e)
                out[i] = out[i] + entry * (weights[k] @ x[j])
    return torch.stack(out)


@pytest.mark.parametrize(
    "skeleton", [Y, COCO, ISLANDS, Skeleton.edgeless(3), Skeleton.edgeless(1)],
    ids=lambda s: s.name,
)  # fmt: skip
@torch.no_grad()
def test_values_meet_the_paper(skeleton):
    conv = AGCNConv(2, 3, skeleton, embedding_channels=2)
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    conv, x = conv.double(), torch.randn(skeleton.num_joints, 2, dtype=torch.float64)
    assert_close(conv(x, skeleton.edge_index), twin(conv, x, skeleton), rtol=1e-6, atol=1e-6)


def test_number_of_parameters():
    def count(*args, **kwargs):
        return sum(p.numel() for p in AGCNConv(*args, **kwargs).parameters())

    assert count(3, 64, HAND) == 3 * (3 * 64 + 21 * 21 + 2 * (3 + 1) * 16) + 64
    assert count(3, 64, COCO) == 2 * (3 * 64 + 17 * 17 + 2 * (3 + 1) * 16) + 64
    assert count(3, 3, HAND, bias=False) == 3 * (3 * 3 + 21 * 21 + 2 * (3 + 1))


def test_partitions_by_hand():
    zero, third = 0.0, 1 / 3
    expected = [
        torch.eye(4).tolist(),
        [[zero, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]],
        [[zero, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    assert_close(skeleton_partitions(Y), torch.tensor(expected))
    rootless = Skeleton("Y", Y.joints, Y.edges)
    neighbors = [[zero, 1, 0, 0], [third, 0, third, third], [0, 1, 0, 0], [0, 1, 0, 0]]
    assert_close(skeleton_partitions(rootless), torch.tensor([expected[0], neighbors]))


def test_partitions_put_neighbors_at_the_same_distance_with_the_joint():
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "e")]  # a cycle and an island
    skeleton = Skeleton("cycle", "abcde", edges, root="a")
    itself, inward, outward = skeleton_partitions(skeleton)
    block, both = torch.full((2, 2), 0.5), torch.ones(1)
    assert_close(itself, torch.block_diag(both, block, block))
    assert inward.nonzero().tolist() == [[1, 0], [2, 0]]
    assert outward.nonzero().tolist() == [[0, 1], [0, 2]]


@pytest.mark.parametrize("skeleton", [HAND, COCO, ISLANDS], ids=lambda s: s.name)
def test_partitions_hold_every_edge_once(skeleton):
    parts = (skeleton_partitions(skeleton) > 0).sum(dim=0)
    assert torch.equal(parts, (skeleton.adjacency() + torch.eye(skeleton.num_joints)).long())


def test_edges_depend_on_the_pose():
    """Without A and B, the adjacency depends on the pose, and each is a softmax."""
    conv = AGCNConv(2, 1, HAND, bias=False)
    with torch.no_grad():
        conv.partition.zero_()
    poses = torch.randn(2, 21, 2)
    with torch.no_grad():
        first, second = conv._adjacency(poses)
    assert_close(first.sum(dim=-1), torch.ones(3, 21))
    assert not torch.allclose(first, second)


def test_width_of_the_embedding():
    assert AGCNConv(2, 64, HAND).embedding_channels == 16
    assert AGCNConv(2, 3, HAND).embedding_channels == 1
    with pytest.raises(ValueError, match=r"AGCNConv: expected positive .* embedding_channels=0"):
        AGCNConv(2, 3, HAND, embedding_channels=0)


def test_parameters_start_as_documented():
    conv = AGCNConv(100, 200, HAND)
    bound = (6 / 300) ** 0.5
    for weight in conv.lin.weight.chunk(3):
        assert bound * 0.99 < weight.abs().max() <= bound
    for lin in (conv.lin_source, conv.lin_target):
        assert lin.weight.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.03)
        assert (lin.bias == 0).all()
    assert (conv.learned == 0).all()
    assert (conv.bias == 0).all()
