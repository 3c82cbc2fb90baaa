"""The compiled net in several threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet

numba = pytest.importorskip("numba")

from handgraph.nn.cpu import batch, ops  # noqa: E402

LEVELS = RemovalSets.by_level(HAND)


@pytest.fixture
def threads():
    """Set the number of PyTorch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 32 samples."""
    monkeypatch.setattr(ops, "MOST", 32)


def unet(graph=LEVELS, seed=0, **options):
    torch.manual_seed(seed)
    return AdaptiveGraphUNet(2, 3, graph, **options).double()


def values_and_gradients(net, x):
    x = x.detach().requires_grad_()
    out = net(x)
    gradients = torch.autograd.grad(out.square().sum(), [x, *net.parameters()])
    return out.detach(), *gradients


@pytest.mark.parametrize("samples", [1, 96, 128, 250])
@pytest.mark.parametrize("graph", [HAND, LEVELS], ids=["hand", "levels"])
def test_threads_share_the_samples(threads, calls, small_blocks, samples, graph):
    net = unet(graph)
    nodes = (21,) if graph is HAND else (4, 16)
    x = torch.randn(samples, *nodes, 2, dtype=torch.float64)
    threads(1)
    expected = values_and_gradients(net, x)
    threads(3)
    before = calls["run_all"]
    once, again = values_and_gradients(net, x), values_and_gradients(net, x)
    assert all(map(torch.equal, once, again))
    assert_close(once, expected, rtol=1e-12, atol=1e-11)
    assert torch.equal(once[0], expected[0])
    assert (calls["run_all"] - before > 2) == (samples >= 128)


def test_parts_run_at_once(threads, small_blocks, monkeypatch):
    together, original = threading.Barrier(3), batch.run_all
    assert original.targetoptions["nogil"]

    def wait(*args):
        together.wait(30)
        original(*args)

    net, x = unet(), torch.randn(192, 4, 16, 2, dtype=torch.float64)
    expected = net(x)
    threads(3)
    monkeypatch.setattr(batch, "run_all", wait)
    assert torch.equal(net(x), expected)


def test_a_failing_part_is_not_silent(threads, small_blocks, monkeypatch):
    def fail(*args):
        raise MemoryError("no room")

    net, x = unet(), torch.randn(300, 4, 16, 2, dtype=torch.float64)
    monkeypatch.setattr(batch, "run_all", fail)
    for count in (1, 3):
        threads(count)
        with pytest.raises(MemoryError, match="no room"):
            net(x)


def test_callers_do_not_disturb_each_other(threads, small_blocks):
    """Nets of several sizes, in several threads of Python at once."""
    threads(2)
    nets = [unet(HAND, seed, channels=3 + seed) for seed in range(4)]
    x = torch.randn(300, 21, 2, dtype=torch.float64)
    expected = [values_and_gradients(net, x) for net in nets]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: [values_and_gradients(net, x) for net in nets], range(8)):
            assert_close(found, expected, rtol=0, atol=0)


FORK = """
import multiprocessing, sys, torch
from handgraph import HAND
from handgraph.nn import AdaptiveGraphUNet
from handgraph.nn.cpu import ops

torch.set_num_threads(2)
ops.MOST = 32  # several blocks of so few samples that PyTorch itself, which hangs, uses one thread
net, x = AdaptiveGraphUNet(2, 3, HAND).double(), torch.randn(300, 21, 2, dtype=torch.float64)

def values():
    with torch.no_grad():
        return net(x)

def child(expected):
    torch.set_num_threads(1)  # as a loader does: OpenMP's threads are not there any more
    found = values()
    sys.exit(0 if torch.equal(found, expected) else 1)

expected = values()
process = multiprocessing.get_context("fork").Process(target=child, args=(expected,))
process.start()
process.join(60)
assert process.exitcode == 0, process.exitcode
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_processes():
    """As the workers of a loader are: the parent has used its threads before."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=120)
