"""The modules compute the same with the kernels as without them."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, HypothesisGraphMerger, SubgraphMask, fold
from handgraph.nn.kernels import disabled, dispatch, enabled
from handgraph.nn.kernels.layout import layout
from handgraph.nn.kernels.program import program
from handgraph.testing import assert_compiles

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
TOY = RemovalSets.from_keep_masks(
    Skeleton.edgeless(3), torch.tensor([[True, True, False], [True] * 3])
)
SETS = pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Core(nn.Module):
    """The core with a feature in the merger."""

    def __init__(self, removal, feature_channels=0):
        super().__init__()
        self.features = feature_channels
        self.split = SubgraphMask(removal)
        self.branches = AdaptiveGraphUNet(2, 3, removal)
        self.merge = GraphMerger(3, 3, removal, feature_channels=feature_channels)

    def forward(self, x):
        feature = x[..., : self.features] if self.features else None
        return self.merge(self.branches(self.split(x)), feature)


def trained(net):
    """As if after training: adjacencies are no identity any more."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape).to(parameter))
    return net


def values_and_gradients(net, x):
    """In double precision, of a fixed weighting of the outputs."""
    x = x.detach().requires_grad_()
    out = net(x)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape).to(out)
    gradients = torch.autograd.grad(out, [x, *net.parameters()], weights, allow_unused=True)
    return [None if t is None else t.double().cpu() for t in (out, *gradients)]


def assert_same_in_double(net, x, device):
    expected = values_and_gradients(copy.deepcopy(net).double(), x.double())
    found = values_and_gradients(net.to(device), x.to(device))
    assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert_close(found[0], expected[0], **CLOSE)


@pytest.mark.parametrize("lead", [(), (0,), (1,), (3, 2)])
def test_unet(kernels, device, lead):
    assert_same_in_double(trained(AdaptiveGraphUNet(2, 3, HAND)), torch.randn(*lead, 21, 2), device)
    assert kernels == {"forward": 1, "backward": 1, "core": 0}


@pytest.mark.parametrize(("removal", "features"), [(LEVELS, 2), (RAGGED, 0)])
def test_core(kernels, device, removal, features):
    assert_same_in_double(trained(Core(removal, features)), torch.randn(3, 21, 2), device)
    assert kernels == {"forward": 2, "backward": 2, "core": 0}


def test_unet_inside_the_literal_merger(kernels, device):
    skeleton = Skeleton.edgeless(3)
    merge = HypothesisGraphMerger(3, 3, RemovalSets.none(skeleton, 2), feature_nodes=2)
    merge = trained(merge).to(device)
    x = torch.randn(2, 2, 3, 3, device=device), torch.randn(2, 2, 3, device=device)
    out = merge(*x)
    assert kernels["forward"] == 1
    assert_close(fold(merge)(*x), out, **CLOSE)  # with its last map in the last stage
    assert kernels["forward"] == 2
    with disabled():
        assert_close(out, merge(*x), **CLOSE)


def test_folded_without_dense_maps(kernels, device):
    """Of so many branches they are not kept."""
    net = trained(AdaptiveGraphUNet(2, 3, RemovalSets.none(HAND, 7))).to(device)
    folded, x = fold(net), torch.randn(2, 7, 21, 2, device=device)
    assert folded.dense is None
    assert_close(folded(x), net(x), **CLOSE)
    assert kernels["forward"] == 2


@SETS
def test_folded(kernels, device, removal):
    core = trained(Core(removal))
    x = torch.randn(3, 21, 2)
    expected = copy.deepcopy(core).double()(x.double()).float()
    whole = fold(nn.Sequential(core.split, core.branches, core.merge)).to(device)
    apart = fold(core).to(device)
    for net in (whole, apart):
        assert_close(net(x.to(device)).cpu(), expected, **CLOSE)
    assert kernels == {"forward": 2, "backward": 0, "core": 1}


def test_padding_keeps_its_nan(kernels, device):
    padding = ~RAGGED.node_mask.unsqueeze(-1)
    for net, channels in [(AdaptiveGraphUNet(2, 3, RAGGED), 2), (GraphMerger(3, 3, RAGGED), 3)]:
        net = net.to(device)
        x = torch.randn(2, *RAGGED.node_mask.shape, channels).masked_fill(padding, torch.nan)
        x = x.to(device)
        out = net(x)
        with disabled():
            assert_close(out, net(x), **CLOSE)
    assert kernels["forward"] == 2


def test_who_does_not_take_the_kernels(kernels, device, monkeypatch):
    net, x = AdaptiveGraphUNet(2, 3, HAND).to(device), torch.randn(2, 21, 2, device=device)
    net(x, torch.ones(2, 21, dtype=torch.bool, device=device))  # a mask for each sample
    copy.deepcopy(net).double()(x.double())
    large = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(100)).to(device)
    large(torch.randn(2, 100, 2, device=device))
    with disabled():
        net(x)
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    net(x)
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    monkeypatch.setattr(dispatch, "DEVICES", ())
    net(x)
    assert kernels["forward"] == 0


def test_transforms_take_torch(kernels, device):
    net, x = AdaptiveGraphUNet(2, 3, HAND).to(device), torch.randn(2, 21, 2, device=device)
    with disabled():
        expected = net(x)
    assert_close(torch.func.vmap(net)(x), expected, **CLOSE)
    assert_close(torch.func.jvp(net, (x,), (x,))[0], expected, **CLOSE)
    assert kernels["forward"] == 0


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.11
def test_compiled_transforms_take_torch(kernels, device):
    net, x = trained(AdaptiveGraphUNet(2, 3, TOY)).to(device), torch.randn(2, 2, 3, 2).to(device)
    direction = torch.randn_like(x)

    def derivatives(x, direction):
        along = torch.func.jvp(net, (x,), (direction,))[1]
        return along, torch.func.grad(lambda x: net(x).square().sum())(x)

    with disabled():
        expected = derivatives(x, direction)
    compiled = torch.compile(derivatives, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x, direction), expected, **CLOSE)
    assert kernels["forward"] == 0


def test_missing_hypotheses(kernels, device):
    merge = trained(GraphMerger(3, 3, LEVELS)).to(device)
    x, there = torch.randn(2, 4, 16, 3).to(device), torch.rand(2, 4, 16).to(device) < 0.8
    out = merge(x, node_mask=there)
    assert kernels["forward"] == 1
    with disabled():
        assert_close(out, merge(x, node_mask=there), **CLOSE)


def test_switch_is_restored():
    before = dispatch._enabled
    with pytest.raises(KeyError), enabled():
        raise KeyError
    assert dispatch._enabled is before
    with enabled():
        with disabled():
            assert not dispatch._enabled
        assert dispatch._enabled
    assert dispatch._enabled is before


def test_autocast(kernels, device):
    core, x = trained(Core(TOY, 2)).to(device), torch.randn(2, 3, 2, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        out = core(x)
    out.float().square().sum().backward()
    assert kernels == {"forward": 2, "backward": 2, "core": 0}
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), core(x), rtol=0.1, atol=0.1)
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in core.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.11
def test_compiled_equals_eager(kernels, device):
    assert_compiles(Core(TOY, 2).to(device), torch.randn(3, 3, 2, device=device))
    assert kernels["backward"] == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.11
def test_compiled_into_graphs(kernels, device):
    """Where that is the first thing that happens, and then for other inputs."""
    core = trained(Core(TOY, 2)).to(device)
    program.cache_clear()
    layout.cache_clear()
    compiled = torch.compile(core, fullgraph=True, mode="reduce-overhead")
    for _ in range(4):
        x = torch.randn(3, 3, 2, device=device)
        found = [t.clone() for t in gradients_of(compiled, x)]
        assert_close(found, gradients_of(core, x), **CLOSE)


def gradients_of(net, x):
    core = getattr(net, "_orig_mod", net)
    return torch.autograd.grad(net(x).square().sum(), list(core.parameters()))


def test_export_takes_any_batch(kernels, device):
    core = trained(Core(TOY, 2)).to(device).eval()
    x = torch.randn(4, 3, 2, device=device)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(core, (x,), dynamic_shapes=shapes)
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("handgraph.chain.default") == 2
    for batch in (1, 4):
        assert_close(program.module()(x[:batch]), core(x[:batch]), **CLOSE)


def test_same_bits_every_time(kernels, device, exact):
    core, x = trained(Core(TOY)).to(device), torch.randn(3, 3, 2, device=device)
    once, again = (values_and_gradients(core, x) for _ in range(2))
    assert all(map(torch.equal, once, again))


@pytest.mark.slow
def test_nothing_needs_triton():
    """Nor is it imported before it is used."""
    code = (
        "import sys; sys.modules['triton'] = None; import torch\n"
        "from handgraph import HAND; from handgraph.nn import AdaptiveGraphUNet\n"
        "AdaptiveGraphUNet(2, 3, HAND)(torch.rand(2, 21, 2)).sum().backward()\n"
        "assert 'handgraph.nn.kernels.walk' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
