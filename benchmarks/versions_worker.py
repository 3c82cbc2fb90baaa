"""Time the core of one checkout; ``benchmarks.versions`` runs this file in each of two checkouts.

The first line of output contains the path of handgraph and the engines as JSON. For each input line
``[case, engine, batch, seconds]`` the worker prints the mean seconds of a call in a block of about
``seconds``. This file uses only features that older versions of handgraph also have.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

import handgraph
from handgraph import HAND, RemovalSets
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, fold

Call = Callable[[], object]
Inputs = Sequence[tuple[Tensor, ...]]
Engines = dict[str, Callable[[], AbstractContextManager[None]]]


def engines() -> Engines:
    """Return the engines; versions without ``nn.engines`` have numba and PyTorch's operations."""
    try:
        use = import_module("handgraph.nn.engines").use
        found: Engines = {n: partial(use, n) for n in ("numba", "reference", "readable")}
    except ModuleNotFoundError:
        disabled = import_module("handgraph.nn.kernels").disabled
        found = {"numba": nullcontext, "reference": disabled}
    return {n: context for n, context in found.items() if n != "numba" or find_spec("numba")}


@cache
def calls(batch: int) -> dict[str, Call]:
    """Return the call of each case, which rotates through four inputs."""
    torch.manual_seed(0)
    removal = RemovalSets.by_level(HAND)
    split, net = SubgraphMask(removal), AdaptiveGraphUNet(3, 3, removal)
    core = nn.Sequential(split, net, GraphMerger(3, 3, removal))
    poses = [torch.randn(batch, 21, 3) for _ in range(4)]
    whole = [(x,) for x in poses]
    masked = [(split(x), torch.rand(batch, 4, 16) > 0.2) for x in poses]
    return {
        "forward": infer(core, whole),
        "training": train(core, whole),
        "folded": infer(fold(core), whole),
        "masked": infer(net, masked),
        "masked training": train(net, masked),
    }


def infer(module: nn.Module, inputs: Inputs) -> Call:
    """Return a call that runs inference without gradients."""
    rest = cycle(inputs)

    def call() -> object:
        with torch.no_grad():
            return module(*next(rest))

    return call


def train(module: nn.Module, inputs: Inputs) -> Call:
    """Return a call that runs the forward pass, a mean square and the backward pass."""
    rest = cycle(inputs)

    def call() -> object:
        loss = module(*next(rest)).square().mean()
        loss.backward()
        module.zero_grad(set_to_none=True)
        return loss

    return call


def time(call: Call, repeats: int) -> float:
    """Return the mean seconds of a call in a block; one call before the block is not timed."""
    call()
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def main() -> None:
    """Answer input lines until the input ends."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found, repeats = engines(), dict[Any, int]()
    print(json.dumps({"handgraph": handgraph.__file__, "engines": list(found)}), flush=True)
    for line in sys.stdin:
        case, engine, batch, seconds = json.loads(line)
        call, key = calls(batch)[case], (case, engine, batch)
        with found[engine]():
            if key not in repeats:  # the first call may compile and is not timed
                call()
                repeats[key] = min(max(math.ceil(seconds / time(call, 2)), 1), 1000)
            print(time(call, repeats[key]), flush=True)


if __name__ == "__main__":
    main()
