"""Folded modules have the same values and no parameters."""

from __future__ import annotations

import copy
import io
import pickle
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import (
    AdaptiveGraphUNet,
    BranchLinear,
    GraphMerger,
    HypothesisGraphMerger,
    JointHead,
    MeanMerger,
    NodePool,
    PerBranch,
    SubgraphMask,
    VisibilityLifter,
    engines,
    fold,
)
from handgraph.nn.engines.reference.form import DENSE_WORK
from handgraph.nn.folded import Folded, FoldedUNet
from handgraph.testing import assert_compiles, assert_no_leak
from tests.nn.nets import (
    ENGINES,
    LEVELS,
    RAGGED,
    Custom,
    core,
    engines_of,
    pose,
    soft_mask,
    trained,
    unet,
)

SETS = pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
EXACT = {"rtol": 1e-11, "atol": 1e-11}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
MANY = 600  # above the limit for dense matrices


@pytest.fixture(params=ENGINES)
def engine(request):
    """Use one engine during a test."""
    with engines.use(request.param):
        yield request.param


@torch.no_grad()
def compare(net, *args, **close):
    folded = fold(net)
    assert_close(folded(*args), net(*args), **{**EXACT, **close})
    return folded


class Apart(nn.Module):
    """A core written as a user's module."""

    def __init__(self, parts):
        super().__init__()
        self.split, self.branches, self.merge = parts

    def forward(self, x):
        return self.merge(self.branches(self.split(x)))


# Values


@pytest.mark.parametrize("lead", [(), (0,), (1,), (8,), (2, 3), (0, 2)])
@pytest.mark.parametrize("merger", [GraphMerger, HypothesisGraphMerger, MeanMerger])
@SETS
def test_core(engine, removal, merger, lead):
    net, x = core(removal, merger), torch.randn(*lead, 21, 2, dtype=torch.float64)
    folded = compare(net, x)
    assert [type(part) for part in folded[:1]] == [Folded]
    assert len(folded) == (2 if merger is MeanMerger else 1)
    assert set(engines_of(folded, x)) == {engine}
    compare(Apart(net), x)


@pytest.mark.parametrize("batch", [2, 15, 16, 17, 96, 97, MANY])
@SETS
def test_batches(engine, removal, batch):
    folded = compare(core(removal), torch.randn(batch, 21, 2, dtype=torch.float64))
    work = batch * folded[0].forms["reference"].work
    assert (work > DENSE_WORK) == (batch == MANY)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=25)
@given(
    joints=st.integers(2, 9),
    seed=st.integers(0, 99),
    batch=st.integers(0, 40),
    channels=st.tuples(*[st.integers(1, 4)] * 3),
    wide=st.sampled_from([1, 3, 5]),
)
def test_any_core(engine, joints, seed, batch, channels, wide):
    """Removal sets may differ in size, and a joint may be in no branch."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(3, joints, generator=generator) < 0.6
    keep[:, 0], keep[0] = True, True  # no set is empty and no joint is removed everywhere
    removal = RemovalSets.from_keep_masks(Skeleton.edgeless(joints), keep)
    ins, between, outs = channels
    torch.manual_seed(seed)
    branches = AdaptiveGraphUNet(ins, between, removal, channels=wide)
    net = nn.Sequential(SubgraphMask(removal), branches, GraphMerger(between, outs, removal))
    with engines.use(engine):
        compare(trained(net), torch.randn(batch, joints, ins, dtype=torch.float64))


@SETS
def test_single_precision(engine, removal):
    net, x = core(removal), torch.randn(200, 21, 2)
    with torch.no_grad():
        expected, found = net(x.double()), fold(copy.deepcopy(net).float())(x)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("options", [{}, {"nodes": (21, 4)}, {"nodes": (21, 30, 5)}])
@pytest.mark.parametrize("channels", [4, 32], ids=["dense", "wide"])
@pytest.mark.parametrize("normalization", ["abs", "signed"])
def test_unet(engine, options, channels, normalization):
    net = unet(channels=channels, normalization=normalization, **options)
    folded = compare(net, pose(net, 5))
    assert type(folded) is FoldedUNet
    assert_close(folded.adjacencies(), net.adjacencies(), **EXACT)


@pytest.mark.parametrize("channels", [4, 32], ids=["dense", "wide"])
@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("graph", [HAND, LEVELS, RAGGED], ids=["skeleton", "levels", "ragged"])
def test_masked_unet(engine, graph, renormalize, channels):
    net = unet(graph, renormalize=renormalize, channels=channels)
    x = pose(net, 6)
    gate = soft_mask(x)
    compare(net, x, gate > 0)
    compare(net, x, gate)
    assert_close(fold(net).adjacencies(), net.adjacencies(), **EXACT)


@pytest.mark.parametrize("features", [0, 2])
@SETS
def test_merger(engine, removal, features):
    merge = trained(GraphMerger(3, 3, removal, feature_channels=features))
    partial = torch.randn(2, 4, len(removal), removal.num_nodes, 3).double()
    feature = torch.randn(2, 4, 21, features).double() if features else None
    mask = torch.rand(partial.shape[:-1]) < 0.6
    folded = compare(merge, partial, feature)
    expected = merge(partial, feature, node_mask=mask)
    assert_close(folded(partial, feature, node_mask=mask), expected, **EXACT)


@SETS
@pytest.mark.parametrize("channels", [2, 8], ids=["dense", "wide"])
def test_literal_merger(engine, removal, channels):
    merge = HypothesisGraphMerger(3, 3, removal, feature_nodes=5, channels=channels)
    merge = trained(merge)
    partial = torch.randn(4, len(removal), removal.num_nodes, 3).double()
    feature, mask = torch.randn(4, 5, 3).double(), torch.rand(partial.shape[:-1]) < 0.6
    folded = compare(merge, partial, feature)
    expected = merge(partial, feature, node_mask=mask)
    assert_close(folded(partial, feature, node_mask=mask), expected, **EXACT)


def test_modules_that_contain_a_unet_are_folded():
    head = JointHead(AdaptiveGraphUNet(2, 8, HAND), 2, 8, 3, HAND)
    net = trained(VisibilityLifter(AdaptiveGraphUNet(3, 1, HAND), head, HAND))
    compare(net, torch.randn(4, 21, 2).double(), torch.rand(4, 21, 1).double())
    branches = trained(PerBranch(RAGGED, lambda s: AdaptiveGraphUNet(2, 3, s)))
    compare(branches, torch.randn(4, 3, RAGGED.num_nodes, 2).double())


def ragged_pools():
    mask = RAGGED.node_mask
    everyone = torch.ones(3, 7, dtype=torch.bool)
    return nn.Sequential(
        NodePool(mask.shape[1], 7, node_mask=mask), NodePool(7, 5, node_mask=everyone)
    )


def test_pools_in_a_row_become_one(engine):
    pools = ragged_pools().double()
    last = NodePool(5, 2, node_mask=torch.ones(3, 5, dtype=torch.bool)).double()
    folded = compare(
        nn.Sequential(*pools, last), torch.randn(4, *RAGGED.node_mask.shape, 2).double()
    )
    assert [type(part) for part in folded] == [Folded]
    assert not any(p.requires_grad for p in folded.parameters())
    unlike = nn.Sequential(NodePool(21, 7), pools[1], NodePool(5, 3)).double()
    apart = nn.Sequential(NodePool(21, 7), nn.ReLU(), NodePool(7, 5))
    for net in (unlike, apart):
        with pytest.raises(ValueError, match="expected a module with"):
            fold(net)


@pytest.mark.parametrize("batch", [1, 40])
def test_a_module_of_a_user(engine, batch):
    """A module with ``lower`` and ``reads`` can be folded."""
    net, x = Custom().double(), torch.randn(batch, 21, 2, dtype=torch.float64)
    assert type(compare(net, x)) is Folded
    before = nn.Sequential(trained(unet(sizes=(2, 2))), net)
    assert len(compare(before, x)) == 1
    inside = nn.ModuleDict({"mine": net, "other": nn.Linear(2, 2)})
    assert type(fold(inside)["mine"]) is Folded


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_batch_norms_are_folded_into_convolutions(dim):
    conv, norm = (getattr(nn, f"{name}{dim}d") for name in ("Conv", "BatchNorm"))
    layers = [conv(3, 5, 3, bias=False), norm(5), nn.ReLU(), conv(5, 2, 1), norm(2)]
    net = nn.Sequential(nn.Sequential(*layers), nn.Flatten()).double()
    x = torch.randn(8, 3, *(5,) * dim).double()
    with torch.no_grad():
        for layer in (layers[1], layers[4]):
            layer.weight.uniform_(0.5, 2)
            layer.bias.uniform_(-1, 1)
    net(x + 1)  # updates the statistics
    folded = fold(net)
    assert net.training
    assert [type(layer) for layer in folded[0]] == [conv, nn.ReLU, conv]
    assert_close(folded(x), net.eval()(x), **EXACT)


class Halves(nn.Linear):
    """A module that defines its form for inference."""

    def fused(self):
        return nn.Linear(self.in_features, self.out_features)


def test_a_module_may_define_its_folded_form():
    net = nn.Sequential(nn.ReLU(), Halves(2, 3))
    assert [type(part) for part in fold(net)] == [nn.ReLU, nn.Linear]
    assert not fold(net).training
    hooked = Halves(2, 3)
    hooked.register_forward_hook(lambda *_: None)
    inherited = type("Inherited", (Halves,), {})(2, 3)
    for other in (hooked, inherited):  # the form may not be that of a subclass
        with pytest.raises(ValueError, match="expected a module with"):
            fold(other)


def test_norms_without_statistics_stay():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(ValueError, match="expected a module with"):
        fold(nn.Sequential(nn.Conv2d(3, 4, 3), norm))


# Foldable and other modules


def test_sets_of_the_same_sizes_in_another_order(engine):
    """The merger uses its own removal sets."""
    split, branches, _ = core(LEVELS)
    reverse = RemovalSets(HAND, {level: level for level in ("MCP", "PIP", "DIP", "TIP")})
    other = nn.Sequential(split, branches, trained(GraphMerger(3, 3, reverse)))
    compare(other, torch.randn(4, 21, 2).double())


@pytest.mark.parametrize(
    "merge", [GraphMerger(3, 3, LEVELS, feature_channels=2), GraphMerger(2, 3, LEVELS)]
)
def test_a_core_that_cannot_run_does_not_run_folded(merge):
    net = nn.Sequential(*core(dtype=torch.float32)[:2], merge)
    for broken in (net, fold(net)):
        with pytest.raises(ValueError, match="GraphMerger.*: expected"):
            broken(torch.randn(4, 21, 2))


@pytest.mark.parametrize("batch", [4, MANY])
def test_wide_core(engine, batch):
    folded = compare(core(LEVELS, channels=32), torch.randn(batch, 21, 2).double())
    assert folded[0].forms["reference"].dense is None


def test_neighbours_of_the_core_stay(engine):
    net = nn.Sequential(nn.Linear(2, 2).double(), *core(), nn.Flatten())
    folded = compare(net, torch.randn(4, 21, 2).double())
    assert [name for name, _ in folded.named_children()] == ["0", "1", "4"]


class Doubled(BranchLinear):
    def forward(self, x):
        return 2 * super().forward(x)


class Louder(AdaptiveGraphUNet):
    def leave(self, out, there):
        return 2 * super().leave(out, there)


def hook(net):
    net.squeeze.register_forward_hook(lambda module, inputs, out: 2 * out)


@torch.no_grad()  # otherwise PyTorch refuses to copy it
def pruned(net):
    prune.l1_unstructured(net.squeeze, "weight", 0.5)


def replace(net):
    net.squeeze = Doubled(32, 20, 4).double()


@pytest.mark.parametrize("change", [hook, pruned, replace])
def test_modified_modules_are_copied_without_folding(engine, change):
    split, branches, merge = core()
    change(branches)
    net = nn.Sequential(split, branches, merge)
    folded = compare(net, torch.randn(4, 21, 2).double())
    assert type(folded[1]) is AdaptiveGraphUNet
    assert type(folded[2].unet) is FoldedUNet
    with pytest.raises(ValueError, match="expected a module with"):
        fold(branches)


def test_fold_while_operations_are_counted():
    """``FlopCounterMode`` registers hooks on all modules."""
    net, x = unet(), pose(unet(), 3)
    with FlopCounterMode(display=False):
        folded = fold(net)
    assert_close(folded(x), net(x), **EXACT)


def test_net_with_hooks_is_copied_without_folding():
    net, x = unet(), pose(unet(), 3)
    net.register_forward_hook(lambda module, inputs, out: 2 * out)
    whole = nn.ModuleList([net, unet()])
    folded = fold(whole)
    assert [type(part) for part in folded] == [AdaptiveGraphUNet, FoldedUNet]
    assert_close(folded[0](x), net(x), **EXACT)


def test_a_child_of_another_size():
    """Sizes are read from the tensors."""
    net = unet()
    net.decoder[0].lin = BranchLinear(8, 1, num_branches=1).double()
    assert compare(net, pose(net, 16))(pose(net, 3)).shape == (3, 21, 1)
    net.squeeze = BranchLinear(64, 7, num_branches=1).double()
    with pytest.raises((ValueError, RuntimeError)):
        fold(net)(pose(net, 16))


def test_subclasses_are_left_as_they_are():
    with pytest.raises(ValueError, match="expected a module with"):
        fold(Louder(2, 3, HAND))
    net = nn.Sequential(trained(Louder(2, 2, HAND)), unet())
    assert type(compare(net, torch.randn(3, 21, 2).double())[0]) is Louder


@pytest.mark.parametrize("net", [nn.Linear(2, 3), nn.Sequential(), MeanMerger(3, 3, LEVELS)])
def test_nothing_to_fold_is_an_error(net):
    with pytest.raises(ValueError, match=f"an AdaptiveGraphUNet.* got {type(net).__name__}"):
        fold(net)


def test_folding_twice_is_an_error():
    for net in (core(), unet(), GraphMerger(3, 3, LEVELS)):
        with pytest.raises(ValueError, match="expected a module with"):
            fold(fold(net))
    with pytest.raises(TypeError, match="no parameters to reset"):
        fold(unet()).reset_parameters()


def test_shared_modules_remain_shared():
    net = unet()
    folded = fold(nn.ModuleDict({"a": net, "b": nn.ModuleList([net])}))
    assert folded["a"] is folded["b"][0]


@pytest.mark.parametrize("net", [core(), unet(RAGGED), trained(GraphMerger(3, 3, LEVELS))])
def test_no_parameters_are_left(net):
    assert list(fold(net).parameters()) == []


def test_small_graphs(engine):
    for graph in (Skeleton.edgeless(1), Skeleton.edgeless(2)):
        net = unet(graph)
        compare(net, pose(net, 4))


# Behaviour of the unfolded modules


@SETS
def test_removed_joints_have_no_influence(engine, removal):
    net = nn.Sequential(SubgraphMask(removal), unet(removal, dtype=torch.float32))
    assert_no_leak(fold(net), removal, in_channels=2)


@SETS
def test_nan_does_not_reach_other_samples(engine, removal):
    net, x = core(removal), torch.randn(20, 21, 2).double()
    x[7, 4] = torch.nan
    found = fold(net)(x)
    assert found[7].isnan().all()
    assert_close(found, net(x), equal_nan=True, **EXACT)


def test_nan_in_padding_does_not_arrive(engine):
    padding = ~RAGGED.node_mask.unsqueeze(-1)
    for net, channels in [(unet(RAGGED), 2), (trained(GraphMerger(3, 3, RAGGED)), 3)]:
        x = torch.randn(2, *RAGGED.node_mask.shape, channels).double()
        compare(net, x.masked_fill(padding, torch.nan))


def test_samples_are_alone(engine):
    x, net = torch.randn(40, 21, 2, dtype=torch.float64), fold(core(LEVELS))
    before = net(x)
    x[3] += 1
    after = net(x)
    others = torch.arange(40) != 3
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[3], after[3])


def test_same_bits_twice_and_in_any_batch():
    """With numba, a sample has the same bits in any batch."""
    x, net = torch.randn(130, 21, 2), fold(core(LEVELS, dtype=torch.float32))
    with torch.no_grad():
        once = net(x)
        assert torch.equal(net(x), once)
        if find_spec("numba"):
            assert torch.equal(net(x[97:]), once[97:])
        assert_close(net(x[50:51]), once[50:51], **CLOSE)


def test_inputs_in_any_layout(engine):
    x = torch.randn(2, 21, 40, dtype=torch.float64).permute(2, 1, 0)
    for view in (x, x[::3].expand(14, 21, 2), torch._neg_view(x)):
        compare(core(LEVELS), view)


@SETS
def test_derivatives_of_the_input(engine, removal):
    net, x = core(removal), torch.randn(4, 21, 2, dtype=torch.float64, requires_grad=True)
    found = []
    for function in (net, fold(net)):
        (first,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
        found.append((first, torch.autograd.grad(first.square().sum(), x)[0]))
    assert_close(*found, **EXACT)


def test_masks_get_gradients(engine):
    net = unet(RAGGED)
    x = pose(net, 3)
    gate = soft_mask(x).requires_grad_()
    found = [torch.autograd.grad(f(x, gate).square().sum(), gate)[0] for f in (net, fold(net))]
    assert_close(*found, **EXACT)


def test_given_module_is_left_alone():
    net = core()
    before, kinds = copy.deepcopy(net.state_dict()), [type(m) for m in net.modules()]
    folded, x = fold(net), torch.randn(2, 21, 2).double()
    assert net.training
    assert not folded.training
    assert [type(m) for m in net.modules()] == kinds
    assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
    expected = folded(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(folded(x), expected)


@pytest.mark.parametrize(
    "net",
    [
        core(),
        core(RAGGED),
        unet(RAGGED),
        trained(GraphMerger(3, 3, RAGGED, feature_channels=2)),
        trained(HypothesisGraphMerger(3, 3, LEVELS)),
        ragged_pools(),
        Custom(),
    ],
    ids=["core", "ragged core", "unet", "merger", "literal merger", "pools", "custom"],
)
def test_no_tensor_is_created_on_another_device(net):
    """The default device has no effect."""
    with torch.device("meta"):
        folded = fold(net)
    expected = fold(net)
    assert_close(dict(folded.named_parameters()), dict(expected.named_parameters()), rtol=0, atol=0)
    assert_close(dict(folded.named_buffers()), dict(expected.named_buffers()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (core(), (4, 20, 2)),
        (core(), (4, 21, 3)),
        (core(), (42,)),
        (core(RAGGED), (4, 3, 20, 2)),
        (unet(LEVELS), (4, 4, 16, 3)),
        (unet(LEVELS), (4, 1, 16, 2)),
        (unet(LEVELS), (16, 2)),
        (unet(), (4, 20, 2)),
        (unet(), (2,)),
        (trained(GraphMerger(3, 3, LEVELS)), (4, 4, 16, 2)),
        (trained(Custom()), (4, 20, 2)),
        (trained(Custom()), (4, 21, 3)),
        (ragged_pools().double(), (4, 3, 20, 2)),
    ],
)
def test_other_shapes_are_errors(engine, net, shape):
    with pytest.raises(ValueError, match=r"expected.*got \["):
        fold(net)(torch.rand(shape).double())


def test_other_masks_and_features_are_errors(engine):
    net, x = fold(unet()), torch.rand(4, 21, 2).double()
    with pytest.raises(TypeError, match="expected Bool or floating"):
        net(x, torch.ones(4, 21, dtype=torch.long))
    with pytest.raises(ValueError, match="expected node_mask"):
        net(x, torch.ones(4, 20))
    with pytest.raises(ValueError, match="expected a feature of 0 channels"):
        fold(GraphMerger(3, 3, LEVELS))(torch.rand(4, 4, 16, 3), torch.rand(4, 21, 1))


def test_other_dtypes_are_errors(engine):
    for net in (fold(core()), fold(unet())):
        with pytest.raises((TypeError, RuntimeError), match=r"expected|dtype"):
            net(torch.rand(MANY, 21, 2))


# Saving, copying, compiling


@pytest.mark.parametrize(
    "net",
    [
        core(RAGGED),
        Apart(core(RAGGED)),
        core(LEVELS, HypothesisGraphMerger),
        unet(),
        Custom().double(),
    ],
    ids=["whole", "apart", "literal", "unet", "custom"],
)
def test_copies_compute_the_same(net):
    folded, x = fold(net), torch.randn(4, 21, 2).double()
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
        for name in ("auto", "reference"):  # all forms of the plan are loaded
            with engines.use(name), torch.no_grad():
                assert torch.equal(same(x), folded(x))
                many = x.repeat(MANY // 4, 1, 1)
                assert torch.equal(same(many), folded(many))


def test_a_loaded_state_reaches_masked_samples(engine):
    net, other = fold(unet()), unet()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.7)
    net.load_state_dict(fold(other).state_dict())
    x = pose(other, 4)
    gate = soft_mask(x)
    assert_close(net(x, gate), other(x, gate), **EXACT)


def test_a_state_of_other_sets_is_refused(engine):
    """The state has the same names and shapes, but contains the joints of each branch."""
    order = ("MCP", "PIP", "DIP", "TIP")
    mine, other = (
        fold(core(RemovalSets(HAND, {level: level for level in o}))) for o in (order, order[::-1])
    )
    with pytest.raises(RuntimeError, match="expected a state for"):
        mine.load_state_dict(other.state_dict())


@SETS
def test_dtype_can_be_changed(engine, removal):
    net, x = core(removal, dtype=torch.float32), torch.randn(4, 21, 2)
    folded = fold(net).double()
    assert folded(x.double()).dtype == torch.float64
    assert_close(folded(x.double()), copy.deepcopy(net).double()(x.double()), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        y = fold(net)(x)
    assert_close(y.float(), net(x), rtol=0.1, atol=0.2)


OLD_TORCH = pytest.mark.xfail(
    torch.__version__ < (2, 13),
    reason="the exporter cannot tell that a size is positive",
    strict=True,
)


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(core(RAGGED), id="whole"),
        pytest.param(Apart(core()), id="apart", marks=OLD_TORCH),
        pytest.param(unet(), id="unet"),
    ],
)
def test_export_with_any_batch(net):
    folded, batch = fold(net), torch.export.Dim("batch")
    x = torch.randn(3, 21, 2).double()
    program = torch.export.export(folded, (x,), dynamic_shapes=[{0: batch}])
    for batch in (1, 7, MANY):
        x = torch.randn(batch, 21, 2).double()
        assert_close(program.module()(x), folded(x), **EXACT)


def test_compiled_equals_eager():
    assert_compiles(fold(core(RAGGED, dtype=torch.float32)), torch.randn(3, 21, 2))


def test_transforms_of_torch(engine):
    """vmap, per-sample gradients and forward mode."""
    net, x = fold(core()), torch.randn(3, 21, 2).double()
    assert_close(torch.func.vmap(net)(x), net(x), **EXACT)
    each = torch.func.vmap(torch.func.grad(lambda one: net(one).square().sum()))(x)
    leaf = x.clone().requires_grad_()
    assert_close(each, torch.autograd.grad(net(leaf).square().sum(), leaf)[0], **EXACT)
    tangent = torch.randn_like(x)
    _, slope = torch.func.jvp(net, (x,), (tangent,))
    step = 1e-6 * tangent
    assert_close(slope, (net(x + step) - net(x - step)) / 2e-6, rtol=1e-5, atol=1e-6)
