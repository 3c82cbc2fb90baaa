"""PSJNet's core in one kernel: as its folded parts compute it, whoever comes last."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, fold
from handgraph.nn.kernels import disabled, launch
from handgraph.nn.kernels.core_op import _chain_core, chain_core

RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
TOY = RemovalSets.from_keep_masks(
    Skeleton.edgeless(3), torch.tensor([[True, True, False], [True] * 3])
)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def core(removal, channels=2, seed=0):
    """A core as if after training: adjacencies are no identity any more."""
    torch.manual_seed(seed)
    branches, merge = AdaptiveGraphUNet(channels, 3, removal), GraphMerger(3, 3, removal)
    net = nn.Sequential(SubgraphMask(removal), branches, merge)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return net


def folded(removal, device, **options):
    """Folded on the device, and as it was in double precision."""
    net = core(removal, **options)
    return fold(net).to(device), copy.deepcopy(net).double()


@pytest.mark.parametrize("lead", [(), (0,), (1,), (17,), (3, 2)])
@pytest.mark.parametrize("removal", [RemovalSets.by_level(HAND), RAGGED], ids=["levels", "ragged"])
def test_values(kernels, device, removal, lead):
    net, exact = folded(removal, device)
    x = torch.randn(*lead, 21, 2)
    assert_close(net(x.to(device)).cpu(), exact(x.double()).float(), **CLOSE)
    assert kernels == {"forward": 0, "backward": 0, "core": 1}


@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    channels=st.integers(1, 3),
    batch=st.integers(0, 40),
    programs=st.integers(1, 9),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sets(kernels, device, monkeypatch, sizes, channels, batch, programs):
    """Of any lengths, also where a program takes several blocks."""
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    keep = torch.arange(5) >= torch.tensor([0, *sizes]).unsqueeze(1)
    removal = RemovalSets.from_keep_masks(Skeleton.edgeless(5), keep)
    net, exact = folded(removal, device, channels=channels)
    x = torch.randn(batch, 5, channels)
    assert_close(net(x.to(device)).cpu(), exact(x.double()).float(), **CLOSE)


@pytest.mark.parametrize("programs", [1, 4, 5])
def test_programs_take_several_blocks(kernels, device, monkeypatch, small_blocks, programs):
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    net, exact = folded(TOY, device)
    x = torch.randn(70, 3, 2)
    assert_close(net(x.to(device)).cpu(), exact(x.double()).float(), **CLOSE)


def test_nan_stays_in_its_sample(kernels, device):
    net, _ = folded(TOY, device)
    x = torch.randn(18, 3, 2, device=device)
    expected = net(x)
    x[16, 1, 1] = torch.nan
    out = net(x)
    assert out[16].isnan().all()
    out[16] = expected[16]
    assert torch.equal(out, expected)


def test_what_stands_in_for_missing_nodes_is_not_read(kernels, device):
    """The first branch has two nodes, and the other three: its last three outputs are padding."""
    net, _ = folded(TOY, device)
    x = torch.randn(2, 3, 2, device=device)
    expected = net(x)
    dense = net[-1].branches.dense
    dense.table[0, -dense.plan.tile :][6:9] = torch.nan  # of the last bias
    assert torch.equal(net(x), expected)
    dense.table[0, -dense.plan.tile :][5] = torch.nan
    assert net(x).isnan().all()


def test_same_bits_every_time(kernels, device, exact):
    """Memory that nobody wrote is NaN meanwhile."""
    net, _ = folded(RAGGED, device)
    x = torch.randn(33, 21, 2, device=device)
    assert torch.equal(net(x), net(x))
    assert torch.equal(net(x)[17:18], net(x[17:18]))


def test_gradients_of_the_input_take_the_parts(kernels, device):
    net, exact = folded(TOY, device)
    x = torch.randn(3, 3, 2)
    (expected,) = torch.autograd.grad(exact(leaf := x.double().requires_grad_()).sum(), leaf)
    (grad,) = torch.autograd.grad(net(leaf := x.to(device).requires_grad_()).sum(), leaf)
    assert_close(grad.cpu(), expected.float(), **CLOSE)
    assert kernels == {"forward": 2, "backward": 2, "core": 0}


def test_saved_equals_loaded(kernels, device):
    """The tables are saved with the stages that they are made of."""
    net, _ = folded(TOY, device)
    other, _ = folded(TOY, device, seed=1)
    x = torch.randn(3, 3, 2, device=device)
    assert not torch.equal(net(x), other(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(x), other(x))
    with disabled():
        assert_close(net(x), other(x), rtol=0, atol=0)


def test_strides_do_not_matter(kernels, device):
    net, _ = folded(TOY, device)
    x = torch.randn(2, 3, 4, device=device).permute(2, 1, 0)
    assert torch.equal(net(x), net(x.contiguous()))


def test_autocast(kernels, device):
    net, _ = folded(TOY, device)
    x = torch.randn(2, 3, 2, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        out = net(x)
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), net(x), rtol=0.1, atol=0.1)
    assert kernels["core"] == 2


def test_another_dtype_is_an_error(kernels, device):
    net, _ = folded(TOY, device)
    message = "expected an input of torch.float32, got torch.bfloat16"
    with pytest.raises(TypeError, match=message):
        net(torch.zeros(1, 3, 2, device=device, dtype=torch.bfloat16))


def test_another_device_is_an_error(device):
    net, _ = folded(TOY, device)
    with pytest.raises(ValueError, match=f"expected an input on {device}.*, got meta"):
        chain_core(torch.zeros(1, 6, device="meta"), *net[-1].chains())


def test_compile_and_export(kernels, device):
    net, _ = folded(TOY, device)
    x = torch.randn(4, 3, 2, device=device)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), net(x))
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(net, (x,), dynamic_shapes=shapes)
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("handgraph.chain_core.default") == 1
    for batch in (1, 4):
        assert torch.equal(program.module()(x[:batch]), net(x[:batch]))


def test_opcheck(kernels, device, monkeypatch):
    """With the arguments that the module gives."""
    seen = []
    original = launch.core
    monkeypatch.setattr(launch, "core", lambda *args: seen.append(args) or original(*args))
    net, _ = folded(TOY, device)
    for batch in (0, 3):
        net(torch.randn(batch, 3, 2, device=device))
    for x, branches, merger in tuple(seen):
        tensors = x, branches.table, merger.table, branches.source, merger.source
        args = *tensors, branches.plan.encode(), merger.plan.encode()
        torch.library.opcheck(_chain_core, args)
