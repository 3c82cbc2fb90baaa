"""The kernels match the readable form and the reference for all modules."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, engines, fold
from handgraph.nn.engines.cuda import refusal
from tests.nn.engines.cuda.chains import CLOSE

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
TOY = RemovalSets.from_keep_masks(
    Skeleton.edgeless(3), torch.tensor([[True, True, False], [True] * 3])
)


class Core(nn.Module):
    """PSJNet's core with a feature in the merger."""

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
    """Perturb all parameters as training does, so that adjacencies are not the identity."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape).to(parameter))
    return net


def values_and_gradients(net, x, engine):
    """Return output and gradients in double precision for a fixed weighting of the outputs."""
    x = x.detach().requires_grad_()
    with engines.use(engine):
        out = net(x)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape).to(out)
    gradients = torch.autograd.grad(out, [x, *net.parameters()], weights, allow_unused=True)
    return [None if t is None else t.double().cpu() for t in (out, *gradients)]


def assert_same_in_double(net, x, device):
    expected = values_and_gradients(copy.deepcopy(net).double(), x.double(), "readable")
    found = values_and_gradients(net.to(device), x.to(device), "triton")
    assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert_close(found[0], expected[0], **CLOSE)


def refused(net, *args, **kwargs):
    """Return why the engine refused each part of a net."""
    with engines.use("triton"):
        choices = engines.explain(net, *args, **kwargs)
    return [choice.refused.get("triton") for choice in choices]


@pytest.mark.parametrize("lead", [(), (0,), (3, 2)])
def test_unet(triton, device, lead):
    assert_same_in_double(trained(AdaptiveGraphUNet(2, 3, HAND)), torch.randn(*lead, 21, 2), device)
    assert triton == {"forward": 1, "backward": 1}


@pytest.mark.parametrize(("removal", "features"), [(LEVELS, 0), (RAGGED, 0), (TOY, 2)])
def test_core(triton, device, removal, features):
    x = torch.randn(3, removal.skeleton.num_joints, 2)
    assert_same_in_double(trained(Core(removal, features)), x, device)
    assert triton == {"forward": 2, "backward": 2}


def test_as_the_reference(triton, device):
    net, x = trained(Core(TOY)).to(device), torch.randn(3, 3, 2, device=device)
    found, expected = (values_and_gradients(net, x, name) for name in ("triton", "reference"))
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_padding_keeps_its_nan(triton, device):
    padding = ~RAGGED.node_mask.unsqueeze(-1)
    for net, channels in [(AdaptiveGraphUNet(2, 3, RAGGED), 2), (GraphMerger(3, 3, RAGGED), 3)]:
        net = net.to(device)
        x = torch.randn(2, *RAGGED.node_mask.shape, channels).masked_fill(padding, torch.nan)
        out = net(x.to(device))
        with engines.use("readable"):
            assert_close(out, net(x.to(device)), **CLOSE)
    assert triton["forward"] == 2


def test_missing_hypotheses(triton, device):
    merge = trained(GraphMerger(3, 3, TOY)).to(device)
    x, there = torch.randn(2, 2, 3, 3).to(device), torch.rand(2, 2, 3).to(device) < 0.8
    out = merge(x, node_mask=there)
    assert triton["forward"] == 1
    with engines.use("readable"):
        assert_close(out, merge(x, node_mask=there), **CLOSE)


def test_same_bits_every_time(triton, device, exact):
    core, x = trained(Core(TOY)).to(device), torch.randn(3, 3, 2, device=device)
    once, again = (values_and_gradients(core, x, "triton") for _ in range(2))
    assert all(map(torch.equal, once, again))


def test_second_derivatives_are_for_the_reference(triton, device):
    net, x = AdaptiveGraphUNet(2, 3, TOY).to(device), torch.randn(2, 2, 3, 2, device=device)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"engines.use\('reference'\)"):
        grad.sum().backward()


# Folded


def folded(removal, device):
    """Return PSJNet's core, folded on the device, and the unfolded core in double precision."""
    core = trained(Core(removal))
    whole = nn.Sequential(core.split, core.branches, core.merge)
    return fold(whole).to(device), core.double()


@pytest.mark.parametrize("lead", [(), (0,), (17,), (3, 2)])
def test_folded_core(triton, device, lead):
    """One launch runs split, branches and merger."""
    net, exact = folded(RAGGED, device)
    x = torch.randn(*lead, 21, 2)
    out = net(x.to(device)).cpu()
    assert triton == {"forward": 1, "backward": 0}
    with engines.use("readable"):
        assert_close(out, exact(x.double()).float(), **CLOSE)


def test_folded_parts(triton, device):
    core, x = trained(Core(TOY, 2)), torch.randn(3, 3, 2)
    with engines.use("readable"):
        expected = core(x)
    assert_close(fold(core).to(device)(x.to(device)).cpu(), expected, **CLOSE)
    assert triton["forward"] == 2


def test_gradients_of_a_folded_core(triton, device):
    net, exact = folded(TOY, device)
    x = torch.randn(18, 3, 2)
    (grad,) = torch.autograd.grad(net(leaf := x.to(device).requires_grad_()).sum(), leaf)
    assert triton == {"forward": 1, "backward": 1}
    with engines.use("readable"):
        out = exact(leaf := x.double().requires_grad_())
    assert_close(grad.cpu(), torch.autograd.grad(out.sum(), leaf)[0].float(), **CLOSE)


def test_removed_joints_have_no_influence_on_folded_branches(triton, device):
    """Joint 2 is removed in the first branch."""
    core = trained(Core(TOY))
    net = fold(nn.Sequential(core.split, core.branches)).to(device)
    x = torch.randn(2, 3, 2, device=device)
    expected = net(x)
    x[0, 2] = torch.nan
    out = net(x)
    assert triton["forward"] == 2
    assert torch.equal(out[0, 0], expected[0, 0])
    assert out[0, 1].isnan().all()
    assert torch.equal(out[1], expected[1])


def test_saved_equals_loaded(triton, device):
    net, other = folded(TOY, device)[0], folded(TOY, device)[0]
    x = torch.randn(3, 3, 2, device=device)
    assert not torch.equal(net(x), other(x))
    other.load_state_dict(net.state_dict())
    assert_close(net(x), other(x))  # the table of ``other`` is not built in double precision


# Refusals


def test_why_modules_are_refused(triton, device, monkeypatch):
    net, x = AdaptiveGraphUNet(2, 3, HAND).to(device), torch.randn(2, 21, 2, device=device)
    mask = torch.ones(2, 21, dtype=torch.bool, device=device)
    assert refused(net, x) == [None]
    assert refused(net, x, node_mask=mask) == ["nodes of single samples are masked"]
    assert refused(copy.deepcopy(net).double(), x.double()) == ["the input is torch.float64"]
    large = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(100)).to(device)
    (why,) = refused(large, x.new_ones(100, 2))
    assert why.startswith("a dense matrix would have ")
    with torch.autocast(device.type, torch.bfloat16):
        assert refused(net, x) == ["autocast is on"]
    monkeypatch.setattr(refusal, "_is_interpreted", lambda: False)
    if device.type == "cpu":
        assert refused(net, x) == ["the input is on cpu"]
    monkeypatch.setattr(refusal, "HAS_TRITON", False)
    assert refused(net, x) == ["Triton is not installed"]
    assert triton["forward"] == 1
    assert refused(fold(net), x) == ["Triton is not installed"]


@pytest.mark.slow
def test_modules_run_without_triton():
    """Triton is not imported until it is used."""
    code = (
        "import sys; sys.modules['triton'] = None; import torch\n"
        "from handgraph import HAND; from handgraph.nn import AdaptiveGraphUNet\n"
        "AdaptiveGraphUNet(2, 3, HAND)(torch.rand(2, 21, 2)).sum().backward()\n"
        "assert 'handgraph.nn.engines.cuda.walk' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
