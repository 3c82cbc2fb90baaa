"""Time the core of one checkout: ``benchmarks.versions`` runs this file in each of two checkouts.

It writes the path of handgraph and the engines as JSON. Then it answers each line ``case, engine,
batch, seconds`` by the seconds that a call takes in a block of so many seconds. It uses only what
older versions of handgraph have too.
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
    """The engines; versions before ``nn.engines`` had numba and PyTorch's operations."""
    try:
        use = import_module("handgraph.nn.engines").use
        found: Engines = {n: partial(use, n) for n in ("numba", "reference", "readable")}
    except ModuleNotFoundError:
        disabled = import_module("handgraph.nn.kernels").disabled
        found = {"numba": nullcontext, "reference": disabled}
    return {n: context for n, context in found.items() if n != "numba" or find_spec("numba")}


@cache
def calls(batch: int) -> dict[str, Call]:
    """Each case, on four inputs in rotation."""
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
    """Inference."""
    rest = cycle(inputs)

    def call() -> object:
        with torch.no_grad():
            return module(*next(rest))

    return call


def train(module: nn.Module, inputs: Inputs) -> Call:
    """Forward, mean square, backward."""
    rest = cycle(inputs)

    def call() -> object:
        loss = module(*next(rest)).square().mean()
        loss.backward()
        module.zero_grad(set_to_none=True)
        return loss

    return call


def time(call: Call, repeats: int) -> float:
    """Seconds of a call, as a mean over a block; the call before the block is not timed."""
    call()
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def main() -> None:
    """Answer lines until there are no more."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found, repeats = engines(), dict[Any, int]()
    print(json.dumps({"handgraph": handgraph.__file__, "engines": list(found)}), flush=True)
    for line in sys.stdin:
        case, engine, batch, seconds = json.loads(line)
        call, key = calls(batch)[case], (case, engine, batch)
        with found[engine]():
            if key not in repeats:  # after a first call, which may compile
                call()
                repeats[key] = min(max(math.ceil(seconds / time(call, 2)), 1), 1000)
            print(time(call, repeats[key]), flush=True)


if __name__ == "__main__":
    main()
