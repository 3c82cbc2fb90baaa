"""The contestants: implementations of the core, each under a name."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from benchmarks.others import skeleton_core, top_k_core
from benchmarks.plain import PublishedConv, RepairedConv, plain_core
from benchmarks.pyg_forms import DenseGIN, DisjointGCN, StaticGCN
from benchmarks.sizes import Core
from handgraph.nn import engines, fold
from handgraph.nn.engines.cpu import refusal as cpu
from handgraph.nn.engines.cuda import refusal as cuda

PUBLISHED = "published path"
REPAIRED = "published, normalised once"
PYG = ("PyG GCNConv, static", "PyG GCNConv, batched", "PyG DenseGINConv")
READABLE = "handgraph, readable"
OURS = "handgraph"
FOLDED = "handgraph, folded"
COMPILED = "handgraph, compiled"

Call = Callable[[Tensor], object]
"""What is timed."""


class Contestant(NamedTuple):
    """One implementation, for inference and, if it can be trained, for training.

    Args:
        name: Its name in the tables.
        module: ``[B, J, 3] -> [B, J, 3]``.
        same: Whether it computes the core's function, with the core's parameters.
        trains: Whether it can be trained.
        counted: Whether PyTorch runs it, so that its operations and its memory can be counted.
        engine: The engine of handgraph that runs all of it, see :func:`check_engine`.
    """

    name: str
    module: nn.Module
    same: bool = True
    trains: bool = True
    counted: bool = True
    engine: str | None = None


class Inside(nn.Module):
    """A module that is called inside of :func:`handgraph.nn.engines.use`.

    Args:
        engine: The engine.
        module: The module.
    """

    def __init__(self, engine: str, module: nn.Module) -> None:
        super().__init__()
        self.engine = engine
        self.module = module

    def forward(self, x: Tensor) -> object:
        """Call the module."""
        with engines.use(self.engine):
            return self.module(x)


class Unavailable(nn.Module):
    """Stands for what cannot be run here: a call raises the reason.

    Args:
        reason: Why it cannot be run.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def forward(self, x: Tensor) -> object:
        """Raise the reason."""
        raise RuntimeError(self.reason)


def equal_forms(core: Core) -> list[Contestant]:
    """The contestants that compute the core's function with PyTorch's operations."""
    return [
        Contestant(PUBLISHED, plain_core(core, PublishedConv)),
        Contestant(REPAIRED, plain_core(core, RepairedConv)),
        Contestant(PYG[0], plain_core(core, StaticGCN)),
        Contestant(PYG[1], plain_core(core, DisjointGCN)),
        Contestant(PYG[2], plain_core(core, DenseGIN)),
        Contestant(READABLE, Inside("readable", copy.deepcopy(core))),
        Contestant(OURS, Inside("reference", copy.deepcopy(core))),
        Contestant(FOLDED, Inside("reference", folded(core)), trains=False),
    ]


def folded(core: Core) -> nn.Module:
    """Fold a core: as one plan, unless its merger takes features."""
    return fold(core if core.feature_nodes else nn.Sequential(*core.children()))


def by_engine(contestants: Iterable[Contestant], device: str) -> list[Contestant]:
    """What the reference runs, run by the engine made for a device; empty without that engine.

    Args:
        contestants: Some of :func:`equal_forms`.
        device: ``"cpu"`` or ``"cuda"``.
    """
    ours = [(c, c.module.get_submodule("module")) for c in contestants if c.name in (OURS, FOLDED)]
    if device == "cpu":  # numba is the default
        return [] if cpu.missing() else [_by("numba", c, module) for c, module in ours]
    if cuda.refuses_here():
        return []
    return [_by("Triton", c, Inside("triton", module)) for c, module in ours]


def _by(engine: str, contestant: Contestant, module: nn.Module) -> Contestant:
    name = f"{contestant.name}, {engine}"
    return contestant._replace(name=name, module=module, engine=engine.lower())


def check_engine(contestant: Contestant, x: Tensor) -> None:
    """Check that each part of a contestant is run by its engine.

    Raises:
        RuntimeError: If the engine left a part to another one.
    """
    if contestant.engine is not None:
        for choice in engines.explain(contestant.module, x):
            if choice.engine != contestant.engine:
                reason = choice.refused.get(contestant.engine) or choice.refused.get("all")
                raise RuntimeError(f"not run by {contestant.engine}: {reason}")


def other_functions(core: Core) -> list[Contestant]:
    """Usual networks for the same task, with other parameters and another function."""
    removal = core.split.removal
    return [
        Contestant("PyG GCNConv on the skeleton", skeleton_core(removal), same=False),
        Contestant("PyG GraphUNet (top-k)", top_k_core(removal), same=False),
    ]


def silent() -> None:
    """Ignore torch's warnings about the sparse matrices of PyG's ``GraphUNet``."""
    warnings.filterwarnings("ignore", message="Sparse")


def compiled(core: Core) -> list[Contestant]:
    """``torch.compile`` of the library and of the repaired published path.

    The library's is compiled for the first batch size and once for all others (torch compiles a
    size of 1 by itself), the other for each batch size.
    """
    torch._dynamo.config.recompile_limit = 64  # all contestants run the code of Core
    ours = torch.compile(copy.deepcopy(core), dynamic=True)
    repaired = torch.compile(plain_core(core, RepairedConv), dynamic=False)
    return [
        Contestant(COMPILED, cast("nn.Module", ours)),
        Contestant(f"{REPAIRED}, compiled", cast("nn.Module", repaired)),
    ]


def is_compiled(contestant: Contestant) -> bool:
    """Whether it is one of :func:`compiled`."""
    return any(isinstance(m, torch._dynamo.OptimizedModule) for m in contestant.module.modules())


def forward_call(contestant: Contestant) -> Call:
    """Inference, without gradients."""
    module = contestant.module.eval()

    def call(x: Tensor) -> object:
        with torch.no_grad():
            return module(x)

    return call


def train_call(contestant: Contestant) -> Call:
    """Forward, mean square, backward.

    Without an optimiser, whose time depends on the number of parameter tensors.
    """
    module = contestant.module.train()

    def call(x: Tensor) -> object:
        loss = module(x).square().mean()
        loss.backward()
        module.zero_grad(set_to_none=True)
        return loss

    return call


PHASES: dict[str, Callable[[Contestant], Call]] = {"forward": forward_call, "train": train_call}
"""What is timed of a contestant."""


def in_cuda_graph(call: Call, x: Tensor) -> Call:
    """Capture a call once; each call of the result copies its input and replays the graph.

    Raises:
        RuntimeError: If the call cannot be captured, for example because it synchronises.
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
