"""Who is compared: a name, what computes, and whether it is the same function."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from benchmarks.others import skeleton_core, top_k_core
from benchmarks.plain import PublishedConv, RepairedConv, plain_core
from benchmarks.pyg_forms import DenseGIN, DisjointGCN, StaticGCN
from benchmarks.sizes import Core
from handgraph.nn import fold
from handgraph.nn.kernels import disabled, enabled
from handgraph.nn.kernels.dispatch import HAS_NUMBA, HAS_TRITON

PUBLISHED = "published path"
REPAIRED = "published, normalised once"
PYG = ("PyG GCNConv, static", "PyG GCNConv, batched", "PyG DenseGINConv")
OURS = "handgraph"
FOLDED = "handgraph, folded"

Call = Callable[[Tensor], object]
"""What is timed."""


class Contestant(NamedTuple):
    """One way to compute, in one form for inference and training.

    Args:
        name: Its name in the tables.
        module: ``[B, J, 3] -> [B, J, 3]``.
        same: Whether it computes the same function with the same parameters.
        trains: Whether it can be trained.
    """

    name: str
    module: nn.Module
    same: bool = True
    trains: bool = True


def equal_forms(core: Core) -> list[Contestant]:
    """All that compute the core's function."""
    forms = [
        Contestant(PUBLISHED, plain_core(core, PublishedConv)),
        Contestant(REPAIRED, plain_core(core, RepairedConv)),
        Contestant(PYG[0], plain_core(core, StaticGCN)),
        Contestant(PYG[1], plain_core(core, DisjointGCN)),
        Contestant(PYG[2], plain_core(core, DenseGIN)),
        Contestant(OURS, Inside(disabled, copy.deepcopy(core))),
    ]
    chain = nn.Sequential(core.split, core.branches, core.merge)
    folded = fold(core if core.feature_nodes else chain)
    return [*forms, Contestant(FOLDED, Inside(disabled, folded), trains=False)]


class Inside(nn.Module):
    """A module that is called inside of a context, such as without or with kernels."""

    def __init__(self, context: Callable[[], AbstractContextManager[None]], module: nn.Module):
        super().__init__()
        self.context = context
        self.module = module

    def forward(self, x: Tensor) -> object:
        """Compute there."""
        with self.context():
            return self.module(x)


KERNELS = {"cpu": "numba"} if HAS_NUMBA else {}
KERNELS |= {"cuda": "Triton"} if HAS_TRITON else {}


def in_kernels(contestants: Iterable[Contestant], device: str) -> list[Contestant]:
    """What the library computes where its kernels for the device are switched on."""
    return [
        c._replace(name=f"{c.name}, {KERNELS[device]}", module=Inside(enabled, c.module.module))
        for c in contestants
        if device in KERNELS and isinstance(c.module, Inside)
    ]


def other_functions(core: Core) -> list[Contestant]:
    """What else one would take: neither the same parameters nor the same values."""
    removal = core.split.removal
    return [
        Contestant("PyG GCNConv on the skeleton", skeleton_core(removal), same=False),
        Contestant("PyG GraphUNet (top-k)", top_k_core(removal), same=False),
    ]


def silent() -> None:
    """Ignore what PyG's ``GraphUNet`` makes torch say of sparse matrices."""
    warnings.filterwarnings("ignore", message="Sparse")


def compiled(contestants: Iterable[Contestant]) -> list[Contestant]:
    """``torch.compile`` of each; their first calls take minutes.

    All run the code of :class:`Core`, and torch gives up on code that it has compiled too often.
    """
    torch._dynamo.config.recompile_limit = 64
    return [c._replace(name=f"{c.name}, compiled", module=_compile(c.module)) for c in contestants]


def is_compiled(contestant: Contestant) -> bool:
    """Whether it is one of :func:`compiled`."""
    return isinstance(contestant.module, torch._dynamo.OptimizedModule)


def _compile(module: nn.Module) -> nn.Module:
    module = module.module if isinstance(module, Inside) else module
    return cast("nn.Module", torch.compile(copy.deepcopy(module), dynamic=False))


def forward_call(contestant: Contestant) -> Call:
    """Infer, without gradients."""
    module = contestant.module.eval()

    def call(x: Tensor) -> object:
        with torch.no_grad():
            return module(x)

    return call


def train_call(contestant: Contestant) -> Call:
    """Forward, mean square, backward; no optimiser, which would flatter whoever has few tensors."""
    module = contestant.module.train()

    def call(x: Tensor) -> object:
        loss = module(x).square().mean()
        loss.backward()
        module.zero_grad(set_to_none=True)
        return loss

    return call


PHASES: dict[str, Callable[[Contestant], Call]] = {"forward": forward_call, "train": train_call}
"""What of a contestant is timed."""


def in_cuda_graph(call: Call, x: Tensor) -> Call:
    """Capture a call once; each call of the result copies its input and replays the graph.

    Raises:
        RuntimeError: If the call cannot be captured, such as one that waits for the device.
    """
    static = x.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call(static)

    def replay(x: Tensor) -> object:
        static.copy_(x)
        graph.replay()
        return out

    return replay
