"""The compiled engine in several threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.testing import assert_close

from handgraph import HAND
from handgraph.nn import engines
from tests.nn.nets import LEVELS, pose, unet, values_and_gradients

numba = pytest.importorskip("numba")

from handgraph.nn.engines.cpu import call, entry  # noqa: E402


@pytest.fixture
def threads():
    """Set the number of PyTorch's threads during a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Use blocks of 32 samples."""
    monkeypatch.setattr(call, "MOST", 32)


@pytest.mark.parametrize("samples", [1, 250])
@pytest.mark.parametrize("graph", [HAND, LEVELS], ids=["hand", "levels"])
def test_the_number_of_threads_changes_no_bit(threads, samples, graph):
    net = unet(graph)
    x = pose(net, samples)
    threads(1)
    expected = values_and_gradients(net, x)
    threads(3)
    assert all(map(torch.equal, values_and_gradients(net, x), expected))


def test_callers_do_not_disturb_each_other(threads):
    """Run nets of several sizes in several Python threads."""
    assert entry.forward.targetoptions["nogil"]
    threads(2)
    nets = [unet(channels=3 + number) for number in range(4)]
    x = pose(nets[0], 300)
    expected = [values_and_gradients(net, x) for net in nets]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: [values_and_gradients(net, x) for net in nets], range(8)):
            assert_close(found, expected, rtol=0, atol=0)


def test_one_net_in_several_threads():
    """Some threads use another engine."""
    net = unet()
    x = pose(net, 100)
    expected = values_and_gradients(net, x)

    def work(number):
        with engines.use(("numba", "reference")[number % 2]):
            return values_and_gradients(net, x)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(16)):
            assert_close(found, expected, rtol=1e-9, atol=1e-10)


FORK = """
import multiprocessing, sys, torch
from handgraph import HAND
from handgraph.nn import AdaptiveGraphUNet
from handgraph.nn.engines.cpu import call

torch.set_num_threads(2)
call.MOST = 32  # several blocks of so few samples that PyTorch itself, which hangs, uses one thread
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
    """The parent uses its threads before the fork, as with the workers of a data loader."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=120)
