"""The contestants: named implementations of the core."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from benchmarks.others import skeleton_core, top_k_core
from benchmarks.plain import HopeNetConv, NormalizedOnceConv, plain_core
from benchmarks.pyg_forms import DenseGIN, DisjointGCN, StaticGCN
from benchmarks.sizes import Core
from handgraph.nn import engines, fold
from handgraph.nn.engines.cpu import refusal as cpu
from handgraph.nn.engines.cuda import refusal as cuda

HOPE_NET = "HOPE-Net algorithm"
NORMALIZED_ONCE = "HOPE-Net, normalised once"
PYG = ("PyG GCNConv, static", "PyG GCNConv, batched", "PyG DenseGINConv")
READABLE = "handgraph, readable"
OURS = "handgraph"
FOLDED = "handgraph, folded"
COMPILED = "handgraph, compiled"

Call = Callable[[Tensor], object]
"""Function that is timed."""


class Contestant(NamedTuple):
    """One implementation, for inference and, if ``trains``, for training.

    Args:
        name: Name in the tables.
        module: ``[B, J, 3] -> [B, J, 3]``.
        same: Whether the module computes the core's function with the core's parameters.
        trains: Whether the module can be trained.
        counted: Whether PyTorch runs the module, so that operations and memory can be counted.
        engine: The handgraph engine that must run all of the module, see :func:`check_engine`.
    """

    name: str
    module: nn.Module
    same: bool = True
    trains: bool = True
    counted: bool = True
    engine: str | None = None


class Inside(nn.Module):
    """Call a module inside :func:`handgraph.nn.engines.use`.

    Args:
        engine: Name of the engine.
        module: The module to call.
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
    """Placeholder for a module that cannot be run; calling it raises an error.

    Args:
        reason: Message of the error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def forward(self, x: Tensor) -> object:
        """Raise a ``RuntimeError`` with the reason."""
        raise RuntimeError(self.reason)


def equal_forms(core: Core) -> list[Contestant]:
    """Return the contestants that compute the core's function with PyTorch operations."""
    return [
        Contestant(HOPE_NET, plain_core(core, HopeNetConv)),
        Contestant(NORMALIZED_ONCE, plain_core(core, NormalizedOnceConv)),
        Contestant(PYG[0], plain_core(core, StaticGCN)),
        Contestant(PYG[1], plain_core(core, DisjointGCN)),
        Contestant(PYG[2], plain_core(core, DenseGIN)),
        Contestant(READABLE, Inside("readable", copy.deepcopy(core))),
        Contestant(OURS, Inside("reference", copy.deepcopy(core))),
        Contestant(FOLDED, Inside("reference", folded(core)), trains=False),
    ]


def folded(core: Core) -> nn.Module:
    """Fold a core into one plan, unless its merger takes features."""
    return fold(core if core.feature_nodes else nn.Sequential(*core.children()))


def by_engine(contestants: Iterable[Contestant], device: str) -> list[Contestant]:
    """Return handgraph's contestants with the engine of a device, if that engine is available.

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
    """Check that the contestant's engine runs all of its parts.

    Raises:
        RuntimeError: If another engine runs a part.
    """
    if contestant.engine is not None:
        for choice in engines.explain(contestant.module, x):
            if choice.engine != contestant.engine:
                reason = choice.refused.get(contestant.engine) or choice.refused.get("all")
                raise RuntimeError(f"not run by {contestant.engine}: {reason}")


def other_functions(core: Core) -> list[Contestant]:
    """Return common networks for the same task that compute another function."""
    removal = core.split.removal
    return [
        Contestant("PyG GCNConv on the skeleton", skeleton_core(removal), same=False),
        Contestant("PyG GraphUNet (top-k)", top_k_core(removal), same=False),
    ]


def silent() -> None:
    """Ignore torch's warnings about the sparse matrices of PyG's ``GraphUNet``."""
    warnings.filterwarnings("ignore", message="Sparse")


def compiled(core: Core) -> list[Contestant]:
    """Return ``torch.compile`` of the library and of HOPE-Net's algorithm with one normalisation.

    The library is compiled for the first batch size and once for all others (torch compiles a size
    of 1 separately). HOPE-Net's algorithm is compiled for each batch size.
    """
    torch._dynamo.config.recompile_limit = 64  # all contestants run the code of Core
    ours = torch.compile(copy.deepcopy(core), dynamic=True)
    once = torch.compile(plain_core(core, NormalizedOnceConv), dynamic=False)
    return [
        Contestant(COMPILED, cast("nn.Module", ours)),
        Contestant(f"{NORMALIZED_ONCE}, compiled", cast("nn.Module", once)),
    ]


def is_compiled(contestant: Contestant) -> bool:
    """Return whether the contestant is one of :func:`compiled`."""
    return any(isinstance(m, torch._dynamo.OptimizedModule) for m in contestant.module.modules())


def forward_call(contestant: Contestant) -> Call:
    """Return a call that runs inference without gradients."""
    module = contestant.module.eval()

    def call(x: Tensor) -> object:
        with torch.no_grad():
            return module(x)

    return call


def train_call(contestant: Contestant) -> Call:
    """Return a call that runs the forward pass, a mean square and the backward pass.

    The optimiser is excluded because its time depends on the number of parameter tensors.
    """
    module = contestant.module.train()

    def call(x: Tensor) -> object:
        loss = module(x).square().mean()
        loss.backward()
        module.zero_grad(set_to_none=True)
        return loss

    return call


PHASES: dict[str, Callable[[Contestant], Call]] = {"forward": forward_call, "train": train_call}
"""The calls to time for each phase."""


def in_cuda_graph(call: Call, x: Tensor) -> Call:
    """Capture a call in a CUDA graph; the returned call copies its input and replays the graph.

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
