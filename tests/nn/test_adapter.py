from __future__ import annotations

import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close
from torch_geometric.nn import (
    MLP,
    BatchNorm,
    ChebConv,
    EdgeConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GENConv,
    GINConv,
    GraphConv,
    GraphNorm,
    GraphUNet,
    MessagePassing,
    PNAConv,
    SAGEConv,
    SGConv,
    TransformerConv,
)

from handgraph import COCO, HAND, INTERHAND, Skeleton
from handgraph.nn import ModulatedGraphConv, SemGraphConv, SkeletonConv
from handgraph.testing import assert_compiles, assert_relabelling

STATIC = {
    "GCN": GCNConv,
    "GCN cached": partial(GCNConv, cached=True),
    "Cheb": partial(ChebConv, K=3),
    "Graph": GraphConv,
    "SAGE": SAGEConv,
    "SAGE max": partial(SAGEConv, aggr="max"),
    "Gen": partial(GENConv, num_layers=1, norm="layer"),
    "EdgeConv": lambda i, o: EdgeConv(nn.Linear(2 * i, o)),
    "Sem": lambda i, o: SemGraphConv(i, o, HAND),
    "Modulated": lambda i, o: ModulatedGraphConv(i, o, HAND),
}
DISJOINT = {
    "GAT": partial(GATConv, heads=2),
    "GATv2": GATv2Conv,
    "Transformer": TransformerConv,
    "PNA": partial(PNAConv, aggregators=["std"], scalers=["linear"], deg=torch.tensor([0, 6, 15])),
    "GIN": lambda i, o: GINConv(MLP([i, o, o])),
}


def alone(conv, x, skeleton):
    """Run one pose at a time."""
    flat = x.reshape(-1, *x.shape[-2:])
    out = torch.stack([conv(pose, skeleton.edge_index) for pose in flat])
    return out.reshape(*x.shape[:-1], -1)


@pytest.mark.parametrize("name", [*STATIC, *DISJOINT])
@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
def test_layer_equals_the_convolution_of_each_pose(name, lead):
    conv = (STATIC | DISJOINT)[name](5, 4).eval()
    x = torch.randn(*lead, 21, 5)
    layer = SkeletonConv(conv, HAND, 5).eval()
    assert_close(layer(x), alone(conv, x, HAND), rtol=1e-5, atol=1e-5)
    assert layer(x).shape == (*lead, 21, layer.out_channels)


@pytest.mark.parametrize("name", [*STATIC, *DISJOINT])
def test_static_layout_is_used_if_the_conv_supports_it(name):
    layer = SkeletonConv((STATIC | DISJOINT)[name](5, 4), HAND, 5)
    assert layer.is_static == (name in STATIC)


@pytest.mark.parametrize("name", ["GCN", "GATv2"])
@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_no_pose_at_all(name, lead):
    x = torch.randn(*lead, 21, 5, requires_grad=True)
    y = SkeletonConv((STATIC | DISJOINT)[name](5, 4), HAND)(x)
    assert y.shape == (*lead, 21, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("skeleton", [COCO, INTERHAND, Skeleton.edgeless(1), Skeleton.edgeless(3)])
@pytest.mark.parametrize("conv", [GCNConv, GATv2Conv, TransformerConv, SAGEConv])
def test_any_skeleton(skeleton, conv):
    conv = conv(2, 3)
    x = torch.randn(4, skeleton.num_joints, 2)
    assert_close(SkeletonConv(conv, skeleton)(x), alone(conv, x, skeleton))


# What the probe detects, and what it must not change


class JointMean(nn.Module):
    """Layer that accepts static graphs but computes something else there, as dim 0 is a sample."""

    in_channels = 2

    def forward(self, x, edge_index):
        graph = torch.arange(len(x)) // 21 if x.dim() == 2 else torch.zeros(len(x), dtype=int)
        sums = x.new_zeros(int(graph.max()) + 1, *x.shape[1:]).index_add(0, graph, x)
        return x + sums[graph]


class WithLoops(MessagePassing):
    """Layer that counts nodes as in PyG's tutorial; in the static layout, these are the samples."""

    in_channels = 2

    def forward(self, x, edge_index):
        loops = torch.arange(x.size(0)).expand(2, -1)
        return self.propagate(torch.cat([edge_index, loops], dim=1), x=x)


@pytest.mark.parametrize("joints", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_samples_are_not_taken_for_joints(joints, batch):
    names = [f"joint_{i}" for i in range(joints)]
    skeleton = Skeleton("chain", names, list(pairwise(names)))
    layer, x = SkeletonConv(WithLoops(), skeleton), torch.randn(batch, joints, 2)
    assert_close(layer(x), alone(layer.conv, x, skeleton))


def test_static_layout_that_gives_other_values_is_not_taken():
    layer = SkeletonConv(JointMean(), HAND)
    x = torch.randn(4, 21, 2)
    assert not layer.is_static
    assert_close(layer(x), x + x.sum(dim=1, keepdim=True))


class Normalized(nn.Module):
    """Layer whose batch norm uses the second axis as channels: the joints, in the static layout."""

    def __init__(self, channels):
        super().__init__()
        self.in_channels = channels
        self.conv = GCNConv(channels, channels)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x, edge_index):
        return self.norm(self.conv(x, edge_index))


@pytest.mark.parametrize("channels", [5, 21])
def test_fresh_batch_norm_does_not_deceive(channels):
    layer = SkeletonConv(Normalized(channels), HAND)
    assert not layer.is_static
    assert layer.conv.norm.num_batches_tracked == 0


class Zero(nn.Module):
    """Layer that returns 0 initially in any layout, like a layer behind a gate."""

    in_channels = 2

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))
        self.inner = JointMean()

    def forward(self, x, edge_index):
        return self.gate * self.inner(x, edge_index)


def test_gate_that_is_closed_does_not_deceive():
    assert not SkeletonConv(Zero(), HAND).is_static


class Noisy(MessagePassing):
    """Layer with dropout, a counter and a random draw, which a probe could disturb."""

    in_channels = 2

    def __init__(self):
        super().__init__(node_dim=-2)
        self.lin = nn.Linear(2, 3)
        self.calls = 0
        self.norm = BatchNorm(3)

    def forward(self, x, edge_index):
        self.calls += 1
        torch.rand(1)
        x = nn.functional.dropout(self.lin(x), 0.5, self.training)
        return self.norm(self.propagate(edge_index, x=x))


@pytest.mark.parametrize("training", [True, False])
def test_probe_leaves_no_trace(training):
    conv = Noisy().train(training)
    state = copy.deepcopy(conv.state_dict())
    before = torch.get_rng_state()
    layer = SkeletonConv(conv, HAND)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.conv is conv
    assert conv.calls == 0
    assert conv.training == conv.norm.training == training
    assert_close(dict(conv.state_dict()), dict(state), rtol=0, atol=0)
    assert all(p.grad is None and p.requires_grad for p in conv.parameters())
    assert not layer.is_static
    assert layer.out_channels == 3


def test_half_precision_and_large_values_do_not_matter():
    assert SkeletonConv(GCNConv(2, 64).bfloat16(), HAND).is_static
    conv = GCNConv(512, 8)
    with torch.no_grad():
        conv.lin.weight.mul_(1e6)
    assert SkeletonConv(conv, HAND).is_static


def test_no_pose_is_no_matter_for_a_convolution_that_needs_one():
    with pytest.raises(RuntimeError):
        JointMean()(torch.rand(0, 2), HAND.edge_index)
    assert SkeletonConv(JointMean(), HAND)(torch.rand(0, 21, 2)).shape == (0, 21, 2)


# Errors


class Mixes(nn.Module):
    """Layer that normalises over all nodes of the batch."""

    in_channels = 2

    def __init__(self):
        super().__init__()
        self.norm = GraphNorm(2)

    def forward(self, x, edge_index):
        return self.norm(x)


def test_convolution_that_mixes_poses_is_an_error():
    message = r"equal outputs for poses of HAND batched and alone: it mixes poses, caches"
    with pytest.raises(ValueError, match=message):
        SkeletonConv(Mixes(), HAND)


def test_unknown_sizes_are_errors():
    with pytest.raises(ValueError, match=r"GINConv.* to have in_channels as int, got None"):
        SkeletonConv(GINConv(nn.Linear(2, 3)), HAND)
    for conv in (GCNConv(-1, 3), SAGEConv((-1, -1), 3), GATv2Conv(-1, 3)):
        with pytest.raises(ValueError, match=r"Conv\(.*has uninitialised parameters"):
            SkeletonConv(conv, HAND, 2)


def test_initialised_lazy_convolution_is_taken():
    conv = GCNConv(-1, 3)
    conv(torch.rand(21, 2), HAND.edge_index)
    assert SkeletonConv(conv, HAND, 2)(torch.rand(4, 21, 2)).shape == (4, 21, 3)


@pytest.mark.parametrize(("shape", "came"), [((8, 17, 2), "17 joints: "), ((2,), "")])
def test_other_joints_are_errors(shape, came):
    message = rf"SkeletonConv: expected \[\*, 21, C\] for the 21 joints of HAND, got {came}\["
    with pytest.raises(ValueError, match=message):
        SkeletonConv(GCNConv(2, 3), HAND)(torch.rand(shape))


# PyTorch features


@pytest.mark.parametrize("conv", [GCNConv, SAGEConv, GATv2Conv], ids=lambda cls: cls.__name__)
def test_compiled_equals_eager(conv):
    assert_compiles(SkeletonConv(conv(2, 4), HAND), torch.randn(3, 21, 2))


@pytest.mark.parametrize("conv", [GCNConv, GATv2Conv], ids=lambda cls: cls.__name__)
def test_gradcheck(conv):
    layer = SkeletonConv(conv(2, 2), Skeleton("v", "abc", [("a", "b"), ("b", "c")])).double()
    assert gradcheck(layer, (torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("conv", [GCNConv, GATv2Conv], ids=lambda cls: cls.__name__)
def test_joints_are_matched_by_name(conv):
    conv = conv(2, 3)
    assert_relabelling(lambda x, s: SkeletonConv(conv, s)(x), COCO, in_channels=2)


def test_state_is_that_of_the_convolution():
    conv = GATv2Conv(2, 3)
    layer = SkeletonConv(conv, HAND)
    assert set(layer.state_dict()) == {f"conv.{name}" for name in conv.state_dict()}
    first = conv.lin_l.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(conv.lin_l.weight, first)
    assert layer.to(torch.float64).edge_index.dtype == torch.long


def test_repr_shows_the_layout():
    assert repr(SkeletonConv(GCNConv(2, 3), HAND)) == "SkeletonConv(GCNConv(2, 3), HAND, static)"


# Unsupported convolutions


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_a_net_that_pools_over_all_nodes_is_refused():
    """The net would index out of bounds if it were called with poses."""
    with pytest.raises(ValueError, match="it mixes poses"):
        SkeletonConv(GraphUNet(4, 8, 6, 2), HAND)


def test_a_convolution_that_remembers_its_input_is_refused():
    with pytest.raises(ValueError, match=r"caches its input \(cached=True\)"):
        SkeletonConv(SGConv(4, 6, K=2, cached=True), HAND)
    assert SkeletonConv(SGConv(4, 6, K=2), HAND)(torch.rand(3, 21, 4)).shape == (3, 21, 6)
