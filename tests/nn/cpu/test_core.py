"""PSJNet's core through one compiled operator is what its three parts compute."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RemovalSets, Skeleton
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, fold, kernels

numba = pytest.importorskip("numba")

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})
SETS = pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
EXACT = {"rtol": 1e-11, "atol": 1e-11}


def core(removal, in_channels=2, between=3, out_channels=3, **options):
    """As if after training: no parameter is what it started as."""
    torch.manual_seed(1)
    branches = AdaptiveGraphUNet(in_channels, between, removal, **options)
    merge = GraphMerger(between, out_channels, removal)
    net = nn.Sequential(SubgraphMask(removal), branches, merge)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return net.double()


@torch.no_grad()
def compare(net, x):
    with kernels.disabled():
        expected = net(x)
    assert expected.isfinite().all()
    assert_close(fold(net)(x), expected, **EXACT)


@SETS
@pytest.mark.parametrize("batch", [0, 1, 8, 15, 16, 17, 96, 97, 300])
def test_batches(calls, core_calls, removal, batch):
    compare(core(removal), torch.randn(batch, 21, 2, dtype=torch.float64))
    assert core_calls["run_core"] == 1
    assert not any(calls.values())


@pytest.mark.parametrize("lead", [(), (3,), (2, 1, 5), (2, 0)])
def test_leading_dimensions(core_calls, lead):
    compare(core(LEVELS), torch.randn(*lead, 21, 2, dtype=torch.float64))
    assert core_calls["run_core"] == 1


@given(
    joints=st.integers(2, 9),
    seed=st.integers(0, 99),
    batch=st.integers(0, 40),
    channels=st.tuples(*[st.integers(1, 4)] * 3),
    wide=st.sampled_from([1, 3, 5]),
)
def test_any_sets_and_sizes(joints, seed, batch, channels, wide):
    """Removal sets of different sizes, also such that no branch has some joint."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(3, joints, generator=generator) < 0.6
    keep[:, 0], keep[0] = True, True  # no set is empty, and no joint is lost
    removal = RemovalSets.from_keep_masks(Skeleton.edgeless(joints), keep)
    compare(
        core(removal, *channels, channels=wide), torch.randn(batch, joints, channels[0]).double()
    )


def test_float32():
    net = core(LEVELS)
    x = torch.randn(200, 21, 2)
    with torch.no_grad(), kernels.disabled():
        expected = net(x.double())
    with torch.no_grad():
        found = fold(net.float())(x)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_inputs_that_are_not_contiguous():
    x = torch.randn(2, 21, 40, dtype=torch.float64).permute(2, 1, 0)
    compare(core(LEVELS), x)
    compare(core(LEVELS), x[::3].expand(14, 21, 2))


@SETS
def test_what_a_branch_lacks_does_not_reach_it(removal):
    """NaN in a joint reaches every output by the branches that have it; nothing hides it."""
    x = torch.randn(20, 21, 2, dtype=torch.float64)
    x[7, 4] = torch.nan
    with torch.no_grad():
        found = fold(core(removal))(x)
    assert found[7].isnan().all()
    others = torch.arange(20) != 7
    assert found[others].isfinite().all()


def test_no_sample_reaches_another():
    x, net = torch.randn(40, 21, 2, dtype=torch.float64), fold(core(LEVELS))
    with torch.no_grad():
        before = net(x)
        x[3] += 1
        after = net(x)
    others = torch.arange(40) != 3
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[3], after[3])


def test_same_bits_twice_and_in_any_batch():
    """A sample's result does not depend on its place."""
    x, net = torch.randn(130, 21, 2), fold(core(LEVELS).float())
    with torch.no_grad():
        once = net(x)
        assert torch.equal(net(x), once)
        assert torch.equal(net(x[50:51]), once[50:51])
        assert torch.equal(net(x[97:]), once[97:])


def test_gradients_go_through_the_parts(core_calls):
    net = core(LEVELS)
    x = torch.randn(9, 21, 2, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(fold(net)(x).square().sum(), x)
    assert not core_calls["run_core"]
    with kernels.disabled():
        (expected,) = torch.autograd.grad(net(x).square().sum(), x)
    assert_close(found, expected, **EXACT)
    fold(net)(x.detach())
    assert core_calls["run_core"] == 1


def test_copies_compute_the_same(core_calls):
    net, x = fold(core(RAGGED)), torch.randn(5, 21, 2, dtype=torch.float64)
    expected = net(x)
    parts = SubgraphMask(RAGGED), AdaptiveGraphUNet(2, 3, RAGGED), GraphMerger(3, 3, RAGGED)
    fresh = fold(nn.Sequential(*parts).double())
    assert not torch.allclose(fresh(x), expected)
    fresh.load_state_dict(net.state_dict())
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), fresh):
        assert torch.equal(other(x), expected)
    assert core_calls["run_core"] == 5


def test_operator():
    net = fold(core(LEVELS))[0]
    unet = net.merge.merger.unet
    codes = net.branches.sizes.encode(), unet.sizes.encode()
    x = torch.randn(5, 42, dtype=torch.float64)
    maps = net.branches.merged, unet.merged
    torch.library.opcheck(
        torch.ops.handgraph.core.default,
        (x, *maps, net.source, net.place, net.constant, *codes),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_wrong_inputs(core_calls):
    net = fold(core(LEVELS))
    with pytest.raises(TypeError, match="expected an input in the net's torch.float64"):
        net(torch.rand(4, 21, 2))
    for shape in [(4, 20, 2), (4, 21, 3), (42,)]:
        with pytest.raises(ValueError, match="expected"):
            net(torch.rand(*shape, dtype=torch.float64))
    assert not core_calls["run_core"]
