"""Measurements besides time: error, operations, memory and floating-point operations."""

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
"""Operations that compute nothing but are not marked as views in their schema."""


def output_and_gradient(module: nn.Module, x: Tensor, phase: str) -> Tensor:
    """Return the tensor to compare: the output, or the gradient of the input for training."""
    if phase == "forward":
        with torch.no_grad():
            out: Tensor = module(x)
        return out
    x = x.clone().requires_grad_()
    return torch.autograd.grad(module(x).square().mean(), x)[0]


def relative_error(contestant: Contestant, core: nn.Module, x: Tensor, phase: str) -> float:
    """Return the largest deviation from the core in double precision, over its largest value."""
    exact = output_and_gradient(copy.deepcopy(core).double(), x.double(), phase)
    deviation = output_and_gradient(contestant.module, x, phase).double() - exact
    return (deviation.abs().max() / exact.abs().max()).item()


class OperationCounter(TorchDispatchMode):
    """Count operations by namespace, and the floating-point operations of matrix products.

    Views and allocations are not counted. A handgraph operator counts as one operation. PyTorch's
    ``FlopCounterMode`` uses the same formulas, but it registers hooks on all modules, and handgraph
    modules with hooks run their readable form.
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
    """Return the number of operations of a call.

    On a GPU, these are the kernels and copies in the profile. On the CPU, these are PyTorch's
    operators except views, which approximates the number of kernels.
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
    """Return the peak memory of the tensors allocated during a call, in bytes."""
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
    """Sum allocations and frees in chronological order, and return the maximum."""
    results = getattr(profiler.profiler, "kineto_results", None)
    events = [] if results is None else results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held, most = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        most = max(most, held)
    return most


def flops(call: Call, x: Tensor) -> int:
    """Return the floating-point operations of the matrix products of a call."""
    with OperationCounter() as counter:
        call(x)
    return int(counter.flops)


def matmul_rate(device: torch.device, threads: int, size: int) -> float:
    """Return the floating-point operations per second of a large float32 matrix product."""
    matrix = torch.rand(size, size, device=device)
    timer = Timer("torch.mm(m, m)", globals={"torch": torch, "m": matrix}, num_threads=threads)
    seconds = timer.blocked_autorange(min_run_time=0.2).median
    return float(2 * size**3 / seconds)
