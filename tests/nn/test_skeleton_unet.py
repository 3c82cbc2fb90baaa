from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close
from torch_geometric.nn import (
    ChebConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GraphConv,
    SAGEConv,
    TransformerConv,
)

from handgraph import COCO, H36M, HAND, INTERHAND, RHD, Coarsening, RemovalSets, Skeleton, coarsen
from handgraph.nn import AGCNConv, ModulatedGraphConv, PerLevel, SemGraphConv, SkeletonUNet
from handgraph.testing import assert_compiles, assert_relabelling

CONVS = {
    "GCN": GCNConv,
    "GATv2": GATv2Conv,
    "GATv2 heads": partial(GATv2Conv, heads=2, concat=False),
    "Cheb": partial(ChebConv, K=2),
    "Graph": GraphConv,
    "Transformer": TransformerConv,
    "SAGE": SAGEConv,
    "GIN": lambda i, o: GINConv(nn.Linear(i, o)),
    "Sem": PerLevel(SemGraphConv),
    "Modulated": PerLevel(partial(ModulatedGraphConv, bias=False)),
    "AGCN": PerLevel(AGCNConv),
}
BY_NAME = [name for name in CONVS if name not in ("Sem", "Modulated", "AGCN")]
LEVELS = RemovalSets.by_level(HAND)


def twin(net, pose, reduce="mean"):
    """Run the net on one pose [J, C], with clusters by joint names."""

    def pool(x, level):
        groups = [x[level.fine.select(joints)] for joints in level.clusters.values()]
        return torch.stack([g.mean(0) if reduce == "mean" else g.amax(0) for g in groups])

    def unpool(x, level):
        home = {joint: name for name, joints in level.clusters.items() for joint in joints}
        return torch.stack([x[level.coarse.index(home[joint])] for joint in level.fine.joints])

    x, skips = pose, []
    for layer, level in zip(net.encoder, net.ladder, strict=True):
        skips.append(layer.conv(x, level.fine.edge_index).relu())
        x = pool(skips[-1], level)
    x = net.bottleneck.conv(x, net.ladder[-1].coarse.edge_index).relu()
    for i in reversed(range(len(skips))):
        level = net.ladder[i]
        x = torch.cat([skips[i], unpool(x, level)], dim=1)
        x = net.decoder[i].conv(x, level.fine.edge_index)
        x = x.relu() if i > 0 else x
    return x


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("skeleton", [HAND, COCO], ids=lambda s: s.name)
def test_net_equals_a_slow_reference(name, skeleton):
    net = SkeletonUNet(2, 3, skeleton, conv=CONVS[name], channels=4).double()
    x = torch.randn(2, 3, skeleton.num_joints, 2, dtype=torch.float64)
    y = net(x)
    assert y.shape == (2, 3, skeleton.num_joints, 3)
    expected = torch.stack([twin(net, pose) for pose in x.flatten(0, 1)]).unflatten(0, (2, 3))
    assert_close(y, expected, rtol=1e-9, atol=1e-10)


def test_max_pooling_equals_a_slow_reference():
    net = SkeletonUNet(2, 3, HAND, conv=GCNConv, reduce="max")
    x = torch.randn(4, 21, 2)
    expected = torch.stack([twin(net, pose, "max") for pose in x])
    assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(x), torch.stack([twin(net, pose) for pose in x]), atol=1e-3)


def test_widths_double_down_and_halve_up():
    net = SkeletonUNet(2, 3, COCO, conv=GCNConv, channels=4)
    assert net.nodes == (17, 9, 5, 3, 2, 1)
    sizes = [[(c.in_channels, c.out_channels) for c in part] for part in (net.encoder, net.decoder)]
    assert sizes[0] == [(2, 4), (4, 8), (8, 16), (16, 32), (32, 64)]
    assert sizes[1] == [(8, 3), (16, 4), (32, 8), (64, 16), (128, 32)]
    assert (net.bottleneck.in_channels, net.bottleneck.out_channels) == (64, 64)


def test_every_parameter_is_used():
    net = SkeletonUNet(2, 3, HAND, conv=TransformerConv)
    net(torch.randn(64, 21, 2)).square().sum().backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None]
    assert unused == []


def test_last_level_may_be_negative():
    y = SkeletonUNet(2, 3, HAND, conv=GCNConv)(torch.randn(64, 21, 2))
    assert (y < 0).any()


@pytest.mark.parametrize("lead", [(), (0,), (1,), (8,), (2, 3), (0, 2)])
@pytest.mark.parametrize("conv", [GCNConv, GATv2Conv], ids=lambda cls: cls.__name__)
def test_any_leading_dimensions(conv, lead):
    net = SkeletonUNet(2, 3, HAND, conv=conv, channels=4)
    x = torch.randn(*lead, 21, 2, requires_grad=True)
    y = net(x)
    assert y.shape == (*lead, 21, 3)
    for pose, expected in zip(x.reshape(-1, 21, 2), y.reshape(-1, 21, 3), strict=True):
        assert_close(net(pose), expected)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize(
    "skeleton",
    [
        INTERHAND,
        H36M,
        Skeleton.edgeless(5),
        Skeleton.edgeless(1),
        LEVELS.subgraph("MCP", "induced"),
    ],
    ids=lambda s: s.name,
)
def test_any_skeleton(name, skeleton):
    net = SkeletonUNet(2, 3, skeleton, conv=CONVS[name], channels=2)
    y = net(torch.randn(4, skeleton.num_joints, 2))
    assert y.shape == (4, skeleton.num_joints, 3)
    assert y.isfinite().all()


# Clusters


def by_name(net, skeleton, ladder, conv):
    """Return the same parameters over the same joints in another order."""
    other = SkeletonUNet(2, 3, skeleton, conv=conv, ladder=ladder)
    other.load_state_dict(net.state_dict())
    return other


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("skeleton", [HAND, COCO], ids=lambda s: s.name)
@pytest.mark.parametrize("given", [True, False], ids=["given", "found"])
def test_joints_are_matched_by_name(name, skeleton, given):
    ladder = coarsen(skeleton) if given else None
    net = SkeletonUNet(2, 3, skeleton, conv=CONVS[name], ladder=ladder)
    assert_relabelling(
        lambda x, s: by_name(net, s, ladder, CONVS[name])(x), skeleton, in_channels=2
    )


def test_custom_clusters_are_used():
    fingers = {f: f for f in ("thumb", "index", "middle", "ring", "pinky")}
    fingers = Coarsening(HAND, {"palm": "wrist"} | {f"the {f}": f for f in fingers})
    hand = Coarsening(fingers.coarse, {"hand": fingers.coarse.joints})
    net = SkeletonUNet(2, 3, HAND, conv=GCNConv, ladder=[fingers, hand])
    assert net.nodes == (21, 6, 1)
    x = torch.randn(2, 21, 2)
    assert_close(net(x), torch.stack([twin(net, pose) for pose in x]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS.names)
def test_clusters_of_the_whole_are_restricted(level):
    sub = LEVELS.subgraph(level)
    net = SkeletonUNet(2, 3, sub, conv=GCNConv, ladder=coarsen(HAND))
    whole = coarsen(HAND)[0].clusters
    expected = {name: [j for j in joints if j in sub.joints] for name, joints in whole.items()}
    assert {name: list(joints) for name, joints in net.ladder[0].clusters.items()} == expected
    assert net.nodes == (16, 11, 6)
    assert SkeletonUNet(2, 3, sub, conv=GCNConv).nodes != net.nodes


def test_ladder_of_another_skeleton_is_an_error():
    with pytest.raises(
        ValueError, match=r"^HAND: expected joints of COCO, whose joints are clustered"
    ):
        SkeletonUNet(2, 3, HAND, conv=GCNConv, ladder=coarsen(COCO))
    with pytest.raises(ValueError, match=r"^HAND/11: expected joints of COCO/9"):
        SkeletonUNet(2, 3, HAND, conv=GCNConv, ladder=[coarsen(HAND)[0], coarsen(COCO)[1]])
    with pytest.raises(ValueError, match=r"^HAND: expected a ladder of at least one level"):
        SkeletonUNet(2, 3, HAND, conv=GCNConv, ladder=[])


# Factories


def test_convolutions_are_built_with_the_skeleton_of_their_level():
    made = []

    def conv(in_channels, out_channels, skeleton):
        made.append((in_channels, out_channels, skeleton.name))
        return SemGraphConv(in_channels, out_channels, skeleton)

    SkeletonUNet(2, 3, RHD, conv=PerLevel(conv), channels=4)
    assert made == [
        (2, 4, "RHD"),
        (4, 8, "RHD/11"),
        (8, 8, "RHD/11/6"),
        (8, 3, "RHD"),
        (16, 4, "RHD/11"),
    ]


def test_convolution_of_another_width_is_an_error():
    message = r"expected conv\(2, 16\) to make a .* 16 output channels, got 64: GATv2Conv\(2, 16, h"
    with pytest.raises(ValueError, match=message):
        SkeletonUNet(2, 3, HAND, conv=partial(GATv2Conv, heads=4))


# PyTorch features


def test_nan_does_not_reach_other_samples():
    net = SkeletonUNet(2, 3, HAND, conv=GATv2Conv)
    x = torch.randn(3, 21, 2)
    x[1, 5] = torch.nan
    assert net(x).isnan().flatten(1).any(dim=1).tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["GATv2", "Sem"])
def test_copies_compute_the_same(name):
    net = SkeletonUNet(2, 3, HAND, conv=CONVS[name])
    x = torch.randn(2, 21, 2)
    loaded = SkeletonUNet(2, 3, HAND, conv=CONVS[name])
    loaded.load_state_dict(net.state_dict())
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded):
        assert torch.equal(other(x), net(x))


def test_state_holds_parameters_only():
    net = SkeletonUNet(2, 3, HAND, conv=CONVS["Modulated"])
    names = {name for name in net.state_dict() if not name.endswith("_extra_state")}
    assert names == {name for name, _ in net.named_parameters()}


def test_reset_draws_anew_from_the_seed():
    torch.manual_seed(5)
    net = SkeletonUNet(2, 3, HAND, conv=GATv2Conv)
    first = copy.deepcopy(net.state_dict())
    net.reset_parameters()
    assert not torch.equal(net.encoder[0].conv.att, first["encoder.0.conv.att"])
    torch.manual_seed(5)
    again = SkeletonUNet(2, 3, HAND, conv=GATv2Conv)
    assert_close(dict(again.state_dict()), dict(first), rtol=0, atol=0)


@pytest.mark.parametrize("conv", [GCNConv, GATv2Conv], ids=lambda cls: cls.__name__)
def test_gradcheck(conv):
    toy = Skeleton.from_parents("toy", {"a": None, "b": "a", "c": "b"})
    net = SkeletonUNet(1, 2, toy, conv=conv, channels=2).double()
    x = torch.randn(2, 3, 1, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in net.named_parameters()]

    def call(x, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(call, (x, *net.parameters()), fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize("conv", [GCNConv, SAGEConv], ids=lambda cls: cls.__name__)
def test_compiled_equals_eager(conv):
    assert_compiles(SkeletonUNet(2, 3, HAND, conv=conv, channels=4), torch.randn(3, 21, 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVS)
def test_every_compiled_convolution_equals_eager(name):
    net = SkeletonUNet(2, 3, HAND, conv=CONVS[name], channels=4)
    assert_compiles(net, torch.randn(3, 21, 2))


@pytest.mark.parametrize("conv", [GCNConv, GATv2Conv], ids=lambda cls: cls.__name__)
def test_exported_program_accepts_any_batch_size(conv):
    net = SkeletonUNet(2, 3, HAND, conv=conv, channels=4).eval()
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(net, (torch.randn(4, 21, 2),), dynamic_shapes=shapes)
    for batch in (1, 4, 33):
        x = torch.randn(batch, 21, 2)
        assert_close(program.module()(x), net(x), rtol=1e-4, atol=1e-5)


def test_training_lowers_the_loss():
    net = SkeletonUNet(2, 3, HAND, conv=SAGEConv)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x = torch.randn(64, 21, 2)
    target = torch.cat([x, x.sum(dim=-1, keepdim=True)], dim=-1)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# Errors


def test_errors_name_the_expected_value():
    with pytest.raises(ValueError, match=r"expected positive sizes, got in_channels=0"):
        SkeletonUNet(0, 3, HAND, conv=GCNConv)
    with pytest.raises(ValueError, match=r"expected positive sizes.*channels=-1$"):
        SkeletonUNet(2, 3, HAND, conv=GCNConv, channels=-1)
    with pytest.raises(ValueError, match=r"reduce: expected 'mean' or 'max', got 'sum'"):
        SkeletonUNet(2, 3, HAND, conv=GCNConv, reduce="sum")


@pytest.mark.parametrize("shape", [(8, 20, 2), (8, 21, 3), (21,), (2,), ()])
def test_input_of_another_skeleton_is_an_error(shape):
    with pytest.raises(ValueError, match=r"UNet: expected \[\*, 21, 2\] for HAND, got"):
        SkeletonUNet(2, 3, HAND, conv=GCNConv)(torch.rand(shape))


def test_repr_shows_convolution_and_ladder():
    expected = "SkeletonUNet(2, 3, HAND, conv=SemGraphConv, nodes=(21, 11, 6))"
    assert repr(SkeletonUNet(2, 3, HAND, conv=PerLevel(SemGraphConv))) == expected
