"""What is measured besides time: error, operations, memory, floating point operations."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch._C._autograd import DeviceType
from torch._ops import OpOverload
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import flop_registry

from benchmarks.contestants import Call, Contestant

FREE = {"_unsafe_view", "_reshape_alias", "detach", "empty", "empty_like", "empty_strided"}
"""Operations that compute nothing, though their schema does not call them views."""


def output_and_gradient(module: nn.Module, x: Tensor, phase: str) -> Tensor:
    """The tensor that is compared: the output, or in training the gradient of the input."""
    if phase == "forward":
        with torch.no_grad():
            out: Tensor = module(x)
        return out
    x = x.clone().requires_grad_()
    return torch.autograd.grad(module(x).square().mean(), x)[0]


def relative_error(contestant: Contestant, core: nn.Module, x: Tensor, phase: str) -> float:
    """Largest deviation from the core in double precision, relative to its largest value."""
    exact = output_and_gradient(copy.deepcopy(core).double(), x.double(), phase)
    deviation = output_and_gradient(contestant.module, x, phase).double() - exact
    return (deviation.abs().max() / exact.abs().max()).item()


class OperationCounter(TorchDispatchMode):
    """Count operations, by namespace, and the floating point operations of matrix products.

    Views and allocations are no operations. An operator of handgraph is one operation. PyTorch's
    ``FlopCounterMode`` has the same formulas, but it sets hooks on all modules, and with hooks a
    module of handgraph runs its readable form.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()
        self.flops = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Run an operation and count it."""
        packet, kwargs = func.overloadpacket, kwargs or {}
        self.counts[func.namespace] += not (func.is_view or packet.__name__ in FREE)
        out = func(*args, **kwargs)
        if packet in flop_registry:
            self.flops += int(flop_registry[packet](*args, **kwargs, out_val=out))
        return out


def operations(call: Call, x: Tensor) -> int:
    """The number of operations of a call.

    On a GPU, kernels and copies, by the profiler. On the CPU, PyTorch's operators that are no
    views: about as many as there would be kernels.
    """
    if x.device.type != "cuda":
        with OperationCounter() as counter:
            call(x)
        return int(counter.counts.total())
    call(x)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call(x)
        torch.cuda.synchronize()
    events = profiler.events() or []
    return len([event for event in events if event.device_type == DeviceType.CUDA])


def peak_memory(call: Call, x: Tensor) -> int:
    """The most bytes of tensors that a call holds at once, without those that exist before it."""
    call(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call(x)
        torch.cuda.synchronize()
        peak: int = torch.cuda.max_memory_allocated()
        return peak - before
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        call(x)
    return _peak(profiler)


def _peak(profiler: profile) -> int:
    """Add up allocations and frees in the order of time."""
    results = getattr(profiler.profiler, "kineto_results", None)
    events = [] if results is None else results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held, most = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        most = max(most, held)
    return most


def flops(call: Call, x: Tensor) -> int:
    """Floating point operations of the matrix products of a call."""
    with OperationCounter() as counter:
        call(x)
    return int(counter.flops)


def matmul_rate(device: torch.device, threads: int, size: int) -> float:
    """Floating point operations per second of a large matrix product in float32."""
    matrix = torch.rand(size, size, device=device)
    timer = Timer("torch.mm(m, m)", globals={"torch": torch, "m": matrix}, num_threads=threads)
    seconds = timer.blocked_autorange(min_run_time=0.2).median
    return float(2 * size**3 / seconds)
