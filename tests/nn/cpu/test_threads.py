"""The compiled net in several threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
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


@pytest.mark.parametrize("samples", [1, 250])
@pytest.mark.parametrize("graph", [HAND, LEVELS], ids=["hand", "levels"])
def test_the_number_of_threads_changes_no_bit(threads, calls, small_blocks, samples, graph):
    net = unet(graph)
    nodes = (21,) if graph is HAND else (4, 16)
    x = torch.randn(samples, *nodes, 2, dtype=torch.float64)
    threads(1)
    expected = values_and_gradients(net, x)
    threads(3)
    assert all(map(torch.equal, values_and_gradients(net, x), expected))
    assert calls["run_all_back"] == 2


def test_callers_do_not_disturb_each_other(threads, small_blocks):
    """Nets of several sizes, in several threads of Python at once."""
    assert batch.run_all.targetoptions["nogil"]
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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_processes():
    """As the workers of a loader are: the parent has used its threads before."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=120)
