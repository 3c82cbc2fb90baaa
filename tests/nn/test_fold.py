"""Folded for inference: the same values, without parameters."""

from __future__ import annotations

import copy
import io
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import (
    AdaptiveGraphUNet,
    GraphMerger,
    HypothesisGraphMerger,
    JointHead,
    MeanMerger,
    NodePool,
    PerBranch,
    SubgraphMask,
    VisibilityLifter,
    fold,
    kernels,
)
from handgraph.testing import assert_compiles, assert_no_leak

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
SETS = pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
EXACT = {"rtol": 1e-12, "atol": 1e-12}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def trained(net, *, seed=1):
    """As if after training: no parameter is what it started as."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def core(removal=LEVELS, merger=GraphMerger, **options):
    torch.manual_seed(0)
    branches = AdaptiveGraphUNet(2, 3, removal)
    return trained(nn.Sequential(SubgraphMask(removal), branches, merger(3, 3, removal, **options)))


def unet(graph=HAND, **options):
    torch.manual_seed(0)
    return trained(AdaptiveGraphUNet(2, 3, graph, **options))


class Apart(nn.Module):
    """A core as a user may write it."""

    def __init__(self, parts):
        super().__init__()
        self.split, self.branches, self.merge = parts

    def forward(self, x):
        return self.merge(self.branches(self.split(x)))


@pytest.fixture(params=[nullcontext, kernels.disabled], ids=["as it is", "by pytorch"])
def way(request):
    """Compute what is folded by numba, where it is, or by dense matrices."""
    with request.param():
        yield


EITHER_WAY = pytest.mark.usefixtures("way")


def is_single(net):
    return isinstance(net, nn.Sequential) and len(net) == 1


# Values


@EITHER_WAY
@pytest.mark.parametrize("lead", [(), (0,), (1,), (8,), (2, 3), (0, 2)])
@pytest.mark.parametrize("merger", [GraphMerger, HypothesisGraphMerger, MeanMerger])
@SETS
def test_core_computes_the_same(removal, merger, lead):
    net = core(removal, merger).double()
    x = torch.randn(*lead, 21, 2, dtype=torch.float64)
    folded = fold(net)
    assert is_single(folded) == (merger is GraphMerger)
    assert_close(folded(x), net(x), **EXACT)
    assert_close(fold(Apart(net))(x), net(x), **EXACT)


@EITHER_WAY
@SETS
def test_core_computes_the_same_in_single_precision(removal):
    net, x = core(removal), torch.randn(16, 21, 2)
    assert_close(fold(net)(x), net(x), **CLOSE)


@EITHER_WAY
@pytest.mark.parametrize("options", [{}, {"nodes": (21, 4)}, {"nodes": (21, 30, 5)}])
@pytest.mark.parametrize("channels", [4, 32], ids=["dense", "wide"])
@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_unet_computes_the_same(options, channels, normalization):
    net = unet(channels=channels, normalization="abs", **options).double()
    net.normalization = normalization
    if normalization == "signed":
        with torch.no_grad():
            for adjacency in net.adjacency:
                adjacency.abs_()
    folded, x = fold(net), torch.randn(5, 21, 2, dtype=torch.float64)
    assert (folded.dense is not None) == (channels == 4 or options == {"nodes": (21, 4)})
    assert_close(folded(x), net(x), **EXACT)
    assert_close(folded.adjacencies(), net.adjacencies(), **EXACT)


@pytest.mark.parametrize("channels", [4, 32], ids=["dense", "wide"])
@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("graph", [HAND, LEVELS, RAGGED], ids=["skeleton", "levels", "ragged"])
def test_masked_unet_computes_the_same(graph, renormalize, channels):
    net = unet(graph, renormalize=renormalize, channels=channels).double()
    nodes = (21,) if graph is HAND else (len(graph), graph.num_nodes)
    x, gate = torch.randn(6, *nodes, 2).double(), torch.rand(6, *nodes).double()
    folded = fold(net)
    for mask in (gate > 0.3, gate.where(gate > 0.3, 0)):
        assert_close(folded(x, mask), net(x, mask), **EXACT)


@EITHER_WAY
@pytest.mark.parametrize("features", [0, 2])
@SETS
def test_merger_computes_the_same(removal, features):
    merge = trained(GraphMerger(3, 3, removal, feature_channels=features)).double()
    partial = torch.randn(2, 4, len(removal), removal.num_nodes, 3).double()
    feature = torch.randn(2, 4, 21, features).double() if features else None
    mask = torch.rand(partial.shape[:-1]) < 0.6
    folded = fold(merge)
    assert_close(folded(partial, feature), merge(partial, feature), **EXACT)
    expected = merge(partial, feature, node_mask=mask)
    assert_close(folded(partial, feature, node_mask=mask), expected, **EXACT)


@EITHER_WAY
@SETS
@pytest.mark.parametrize("channels", [2, 8], ids=["dense", "merged"])
def test_literal_merger_computes_the_same(removal, channels):
    merge = HypothesisGraphMerger(3, 3, removal, feature_nodes=5, channels=channels)
    merge = trained(merge).double()
    partial = torch.randn(4, len(removal), removal.num_nodes, 3).double()
    feature, mask = torch.randn(4, 5, 3).double(), torch.rand(partial.shape[:-1]) < 0.6
    folded = fold(merge)
    assert_close(folded(partial, feature), merge(partial, feature), **EXACT)
    expected = merge(partial, feature, node_mask=mask)
    assert_close(folded(partial, feature, node_mask=mask), expected, **EXACT)
    assert (folded.unet.dense is not None) == (channels == 2)
    with pytest.raises(TypeError, match="no parameters to reset"):
        folded.reset_parameters()


@SETS
def test_large_batches_compute_the_same(removal):
    net, x = core(removal).double(), torch.randn(300, 21, 2, dtype=torch.float64)
    folded = fold(net)
    assert_close(folded(x), net(x), **EXACT)
    with kernels.disabled():  # numba would take few and many alike
        assert not folded[0].branches.dense.pays(x, 300)
        assert_close(folded(x), net(x), **EXACT)
        few = torch.cat([folded(part) for part in x.split(50)])
        assert folded[0].branches.dense.pays(x, 50)
    assert_close(few, net(x), **EXACT)


def test_what_contains_a_unet_computes_the_same():
    head = JointHead(AdaptiveGraphUNet(2, 8, HAND), 2, 8, 3, HAND)
    net = trained(VisibilityLifter(AdaptiveGraphUNet(3, 1, HAND), head, HAND)).double()
    x, score = torch.randn(4, 21, 2).double(), torch.rand(4, 21, 1).double()
    assert_close(fold(net)(x, score), net(x, score), **EXACT)
    branches = trained(PerBranch(RAGGED, lambda s: AdaptiveGraphUNet(2, 3, s))).double()
    y = torch.randn(4, 3, RAGGED.num_nodes, 2).double()
    assert_close(fold(branches)(y), branches(y), **EXACT)


def test_pools_in_a_row_become_one():
    mask, pools = RAGGED.node_mask, ragged_pools()
    everyone = torch.ones(3, 7, dtype=torch.bool)
    net = nn.Sequential(*pools, NodePool(5, 2, node_mask=everyone[:, :5])).double()
    x = torch.randn(4, *mask.shape, 2).double()
    folded = fold(net)
    assert is_single(folded)
    assert not any(p.requires_grad for p in folded.parameters())
    assert_close(folded(x), net(x), **EXACT)
    unlike = nn.Sequential(NodePool(21, 7), pools[1], NodePool(5, 3)).double()
    with pytest.raises(ValueError, match="expected a module with"):
        fold(unlike)
    apart = nn.Sequential(NodePool(21, 7), nn.ReLU(), NodePool(7, 5))
    with pytest.raises(ValueError, match="expected a module with"):
        fold(apart)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_batch_norms_go_into_convolutions(dim):
    conv, norm = (getattr(nn, f"{name}{dim}d") for name in ("Conv", "BatchNorm"))
    layers = [conv(3, 5, 3, bias=False), norm(5), nn.ReLU(), conv(5, 2, 1), norm(2)]
    net = nn.Sequential(nn.Sequential(*layers), nn.Flatten()).double()
    x = torch.randn(8, 3, *(5,) * dim).double()
    with torch.no_grad():
        for layer in (layers[1], layers[4]):
            layer.weight.uniform_(0.5, 2)
            layer.bias.uniform_(-1, 1)
    net(x + 1)  # statistics
    folded = fold(net)
    assert net.training
    assert [type(layer) for layer in folded[0]] == [conv, nn.ReLU, conv]
    assert_close(folded(x), net.eval()(x), **EXACT)


def test_norms_without_statistics_stay():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(ValueError, match="expected a module with"):
        fold(nn.Sequential(nn.Conv2d(3, 4, 3), norm))


def test_only_a_core_over_the_same_sets_becomes_one():
    split, branches, _ = core(LEVELS)
    other = RemovalSets(
        HAND, dict(zip("abcd", reversed(["TIP", "DIP", "PIP", "MCP"]), strict=True))
    )
    mixed = nn.Sequential(split, branches, trained(GraphMerger(3, 3, other)))
    folded, x = fold(mixed), torch.randn(4, 21, 2)
    assert len(folded) == 3
    assert_close(folded(x), mixed(x), **CLOSE)


@pytest.mark.parametrize(
    "merge", [GraphMerger(3, 3, LEVELS, feature_channels=2), GraphMerger(2, 3, LEVELS)]
)
def test_a_core_that_cannot_run_does_not_run_folded(merge):
    net = nn.Sequential(*core()[:2], merge)
    for broken in (net, fold(net)):
        with pytest.raises(ValueError, match="GraphMerger.*: expected"):
            broken(torch.randn(4, 21, 2))


def test_wide_core_is_folded_part_by_part():
    net, x = core(LEVELS, channels=32), torch.randn(4, 21, 2)
    folded = fold(net)
    assert len(folded) == 3
    assert_close(folded(x), net(x), **CLOSE)


def test_neighbours_of_the_core_stay():
    net = nn.Sequential(nn.Linear(2, 2), *core(), nn.Flatten())
    folded, x = fold(net), torch.randn(4, 21, 2)
    assert [name for name, _ in folded.named_children()] == ["0", "1", "4"]
    assert_close(folded(x), net(x), **CLOSE)


# Promises of the eager modules


@EITHER_WAY
@SETS
def test_removed_joints_have_no_influence(removal):
    net = nn.Sequential(SubgraphMask(removal), unet(removal))
    assert_no_leak(fold(net), removal, in_channels=2)


@EITHER_WAY
@SETS
def test_nan_stays_in_its_sample(removal):
    net, x = core(removal), torch.randn(3, 21, 2)
    x[1, 5] = torch.nan
    assert torch.equal(fold(net)(x).isnan(), net(x).isnan())


@EITHER_WAY
def test_nan_in_padding_does_not_arrive():
    padding = ~RAGGED.node_mask.unsqueeze(-1)
    for net, channels in [(unet(RAGGED), 2), (trained(GraphMerger(3, 3, RAGGED)), 3)]:
        x = torch.randn(2, *RAGGED.node_mask.shape, channels).masked_fill(padding, torch.nan)
        assert_close(fold(net)(x), net(x), **CLOSE)


@EITHER_WAY
@SETS
def test_gradients_reach_the_input(removal):
    net = core(removal).double()
    x = torch.randn(4, 21, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 21, 3, dtype=torch.float64)
    gradients = [torch.autograd.grad((weights * f(x)).sum(), x) for f in (net, fold(net))]
    assert_close(*gradients, **EXACT)


def test_given_module_is_left_alone():
    net = core()
    before, kinds = copy.deepcopy(net.state_dict()), [type(m) for m in net.modules()]
    folded, x = fold(net), torch.randn(2, 21, 2)
    assert net.training
    assert not folded.training
    assert [type(m) for m in net.modules()] == kinds
    assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
    expected = folded(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(folded(x), expected)


def ragged_pools():
    mask = RAGGED.node_mask
    return nn.Sequential(
        NodePool(mask.shape[1], 7, node_mask=mask),
        NodePool(7, 5, node_mask=torch.ones(3, 7, dtype=torch.bool)),
    )


@pytest.mark.parametrize(
    "net",
    [
        core(),
        core(RAGGED),
        unet(RAGGED),
        trained(GraphMerger(3, 3, RAGGED, feature_channels=2)),
        trained(HypothesisGraphMerger(3, 3, LEVELS)),
        ragged_pools(),
    ],
    ids=["core", "ragged core", "unet", "merger", "literal merger", "pools"],
)
def test_nothing_is_made_on_another_device(net):
    """With another default device all tensors must say where they are."""
    with torch.device("meta"):
        folded = fold(net)
    expected = fold(net)
    assert_close(dict(folded.named_parameters()), dict(expected.named_parameters()), rtol=0, atol=0)
    assert_close(dict(folded.named_buffers()), dict(expected.named_buffers()), rtol=0, atol=0)


@pytest.mark.parametrize("net", [core(), unet(RAGGED), trained(GraphMerger(3, 3, LEVELS))])
def test_no_parameters_are_left(net):
    assert list(fold(net).parameters()) == []


def test_what_was_shared_remains_shared():
    net = unet()
    folded = fold(nn.ModuleDict({"a": net, "b": nn.ModuleList([net])}))
    assert folded["a"] is folded["b"][0]


@SETS
def test_errors_are_those_of_the_module(removal):
    nets = core(removal), unet(removal), trained(GraphMerger(3, 3, removal))
    nodes = removal.node_mask.shape
    for net, shape in [
        (nets[0], (4, 20, 2)),
        (nets[0], (4, 21, 3)),
        (nets[1], (4, *nodes, 3)),
        (nets[1], nodes),
        (nets[2], (4, *nodes, 2)),
    ]:
        with pytest.raises(ValueError, match="expected") as eager:
            net(torch.rand(shape))
        with pytest.raises(ValueError, match="expected") as folded:
            fold(net)(torch.rand(shape))
        assert str(folded.value) == str(eager.value)
    with pytest.raises(TypeError, match="expected Bool or floating"):
        fold(unet())(torch.rand(4, 21, 2), torch.ones(4, 21, dtype=torch.long))
    with pytest.raises(ValueError, match="expected a feature of 0 channels"):
        fold(nets[2])(torch.rand(4, *nodes, 3), torch.rand(4, 21, 1))


@pytest.mark.parametrize("net", [nn.Linear(2, 3), nn.Sequential(), MeanMerger(3, 3, LEVELS)])
def test_nothing_to_fold_is_an_error(net):
    with pytest.raises(ValueError, match=f"an AdaptiveGraphUNet.* got {type(net).__name__}"):
        fold(net)


def test_folding_twice_is_an_error():
    with pytest.raises(ValueError, match="expected a module with"):
        fold(fold(core()))
    with pytest.raises(TypeError, match="no parameters to reset"):
        fold(unet()).reset_parameters()


def test_subclasses_are_left_as_they_are():
    class Mine(AdaptiveGraphUNet):
        pass

    with pytest.raises(ValueError, match="expected a module with"):
        fold(Mine(2, 3, HAND))


# Life in PyTorch


@pytest.mark.parametrize(
    "net",
    [core(RAGGED), Apart(core(RAGGED)), core(LEVELS, HypothesisGraphMerger)],
    ids=["whole", "apart", "literal"],
)
def test_copies_compute_the_same(net):
    folded, x = fold(net), torch.randn(4, 21, 2)
    file = io.BytesIO()
    torch.save(folded.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    loaded = fold(other)
    assert not torch.equal(loaded(x), folded(x))
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for same in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded)), loaded):
        assert torch.equal(same(x), folded(x))


@pytest.mark.parametrize("whole", [True, False])
def test_a_net_folded_over_other_sets_is_not_loaded(whole):
    """Of the same sizes, and with maps of the same shapes."""
    order = ("MCP", "PIP", "DIP", "TIP")
    nets = [core(RemovalSets(HAND, {level: level for level in o})) for o in (order, order[::-1])]
    mine, other, same = (
        fold(net if whole else net[2]) for net in (*nets, core(RemovalSets.by_level(HAND)))
    )
    same.load_state_dict(fold(core() if whole else core()[2]).state_dict())
    with pytest.raises(ValueError, match="the saved net was folded over other sets"):
        mine.load_state_dict(other.state_dict())


@SETS
def test_dtype_can_be_changed(removal):
    net, x = core(removal), torch.randn(4, 21, 2)
    folded = fold(net).double()
    assert folded(x.double()).dtype == torch.float64
    assert_close(folded(x.double()), copy.deepcopy(net).double()(x.double()), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        y = fold(net)(x)
    assert_close(y.float(), net(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("net", [core(RAGGED), Apart(core())], ids=["whole", "apart"])
def test_export_with_any_batch(net):
    folded, batch = fold(net), torch.export.Dim("batch")
    program = torch.export.export(folded, (torch.randn(3, 21, 2),), dynamic_shapes=[{0: batch}])
    x = torch.randn(7, 21, 2)
    assert_close(program.module()(x), folded(x))


@pytest.mark.parametrize("net", [core(RAGGED), Apart(core())], ids=["whole", "apart"])
def test_compiled_equals_eager(net):
    assert_compiles(fold(net), torch.randn(3, 21, 2))


def test_small_graphs():
    for graph in (Skeleton.edgeless(1), Skeleton.edgeless(2)):
        net = trained(AdaptiveGraphUNet(2, 3, graph)).double()
        x = torch.randn(4, graph.num_joints, 2).double()
        assert_close(fold(net)(x), net(x), **EXACT)
