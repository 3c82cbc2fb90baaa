"""What is measured besides time: error, operations, memory, floating point operations."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch._C._autograd import DeviceType
from torch._ops import OpOverload
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from benchmarks.contestants import Call, Contestant
from handgraph.nn.cpu.layout import layout
from handgraph.nn.kernels.plan import decode
from handgraph.nn.kernels.sizes import Sizes

FREE = {"_unsafe_view", "_reshape_alias", "detach", "empty", "empty_like", "empty_strided"}
"""Operations that compute nothing, and are no views by their schema."""


def output_and_gradient(module: nn.Module, x: Tensor, phase: str) -> Tensor:
    """What is compared: the output, or, of a training step, the input's gradient."""
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
    """Count the operations that compute something, by namespace; views and allocations do not.

    An operator of ours is one, whatever it does.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Count and compute."""
        is_free = func.is_view or func.overloadpacket.__name__ in FREE
        self.counts[func.namespace] += not is_free
        return func(*args, **(kwargs or {}))


def operations(call: Call, x: Tensor) -> int:
    """How many operations a call launches.

    On a GPU, kernels and copies, by the profiler. On the CPU, ATen operations that are no views:
    about what the kernels would be.
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
    """The most bytes of tensors that a call holds at once, beyond what was there before."""
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
    """Add up what was allocated and freed, in the order of time."""
    results = getattr(profiler.profiler, "kineto_results", None)
    events = [] if results is None else results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held, most = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        most = max(most, held)
    return most


@register_flop_formula([torch.ops.handgraph.chain])
def _chain_flops(x: Size, table: Size, plan: list[int], **options: object) -> int:
    """Those of the kernels: dense matrices of all channels of all nodes, which are more."""
    return 2 * x[0] * x[1] * sum(rows * columns for rows, columns in decode(plan).matrices())


@register_flop_formula([torch.ops.handgraph.chain_backward])
def _chain_backward_flops(
    grad: Size, x: Size, table: Size, plan: list[int], **options: object
) -> int:
    """The way forward anew, the gradients of activations, and those of the table."""
    return 3 * _chain_flops(x, table, plan)


@register_flop_formula([torch.ops.handgraph.chain_core])
def _chain_core_flops(x: Size, table: Size, *others: Any, **options: object) -> int:
    """Those of its chains, whose plans come last."""
    branches, merger = others[-2:]
    return _chain_flops(Size([x[0], table[0]]), table, branches) + _chain_flops(
        Size([x[0], 1]), table, merger
    )


@register_flop_formula([torch.ops.handgraph.unet])
def _unet_flops(x: Size, maps: Size, sizes: list[int], out_nodes: int, **options: object) -> int:
    """Those of numba's net: merged maps."""
    shape = layout(Sizes.decode(sizes), out_nodes).shape
    comes, nodes, below = shape.comes, shape.nodes, shape.nodes[1:]
    ins, outs, up_ins = shape.widths[:-1], shape.widths[1:], shape.widths[1:-1]
    down = nodes * ins * (comes + outs)
    up = shape.outs * (nodes[:-1] + below) * (up_ins + shape.goes)
    expand = nodes[-1] * outs[-1] * outs[-2]
    return 2 * x[0] * x[3] * int(down.sum() + up.sum() + expand)


@register_flop_formula([torch.ops.handgraph.core])
def _core_flops(x: Size, maps: Size, *others: Any, **options: object) -> int:
    """Those of its nets, whose sizes come last."""
    total = 0
    for code in others[-2:]:
        net = Sizes.decode(code)
        total += _unet_flops(torch.Size([net.branches, 0, 0, x[0]]), maps, code, net.nodes[0])
    return total


@register_flop_formula([torch.ops.handgraph.unet_backward])
def _unet_backward_flops(
    grad: Size, x: Size, maps: Size, sizes: list[int], out_nodes: int, **options: object
) -> int:
    """The way forward anew, the gradients of activations, and those of the maps."""
    return 3 * _unet_flops(x, maps, sizes, out_nodes)


def flops(call: Call, x: Tensor) -> int:
    """Floating point operations of the matrix products of a call."""
    with FlopCounterMode(display=False) as counter:
        call(x)
    return int(counter.get_total_flops())


def matmul_rate(device: torch.device, threads: int, size: int) -> float:
    """Floating point operations in a second that a large matrix product in float32 reaches."""
    matrix = torch.rand(size, size, device=device)
    timer = Timer("torch.mm(m, m)", globals={"torch": torch, "m": matrix}, num_threads=threads)
    seconds = timer.blocked_autorange(min_run_time=0.2).median
    return float(2 * size**3 / seconds)
