"""Who takes the compiled net, and that copies of a net compute what it does."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, kernels
from handgraph.nn.kernels import dispatch
from tests.nn.nets import by_torch, unet

numba = pytest.importorskip("numba")

LEVELS = RemovalSets.by_level(HAND)


def pose(*batch, dtype=torch.float64):
    return torch.randn(*batch, 21, 2, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_taken_by_itself(calls, dtype):
    net, x = unet(dtype=dtype), pose(4, dtype=dtype)
    out = net(x)
    assert (calls["merge_all"], calls["run_all"]) == (1, 1)
    assert_close(out, by_torch(net, x), rtol=1e-5, atol=1e-5)


def test_not_taken_within_disabled(no_numba):
    net = unet()
    with kernels.disabled():
        net(pose(4)).sum().backward()


def test_not_taken_without_numba(no_numba, monkeypatch):
    monkeypatch.setattr(dispatch, "HAS_NUMBA", False)
    net = unet()
    net(pose(4)).sum().backward()
    with torch.no_grad():
        net(pose(4))


def test_a_numba_that_cannot_be_imported_is_done_without(no_numba, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    dispatch._numba_works.cache_clear()
    net, x = unet(), pose(4)
    with pytest.warns(UserWarning, match="handgraph does without numba: import of numba halted"):
        out = net(x)
    assert torch.equal(net(x), out)  # and says so once
    dispatch._numba_works.cache_clear()


def test_not_taken_in_half_precision(no_numba):
    net, x = unet(dtype=torch.bfloat16), pose(4, dtype=torch.bfloat16)
    out = net(x)
    assert out.dtype == torch.bfloat16
    assert_close(out, by_torch(net, x))


def test_switch_is_restored():
    with pytest.raises(KeyError), kernels.disabled():
        raise KeyError
    assert dispatch._compiled
    with kernels.disabled():
        with kernels.enabled():
            assert dispatch._compiled
        assert not dispatch._compiled


def test_copies_compute_the_same():
    net, x = unet(LEVELS), torch.randn(5, 4, 16, 2, dtype=torch.float64)
    expected = net(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(x), expected)
    fresh = AdaptiveGraphUNet(2, 3, LEVELS).double()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), expected)


@pytest.mark.slow
def test_nothing_needs_numba():
    """Nor is it imported before it is used."""
    code = (
        "import sys; sys.modules['numba'] = None; import torch\n"
        "from handgraph import HAND; from handgraph.nn import AdaptiveGraphUNet, fold\n"
        "from handgraph.nn.kernels import dispatch\n"
        "dispatch.HAS_NUMBA = False\n"
        "net = AdaptiveGraphUNet(2, 3, HAND); net(torch.rand(2, 21, 2)).sum().backward()\n"
        "fold(net)(torch.rand(600, 21, 2))\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
