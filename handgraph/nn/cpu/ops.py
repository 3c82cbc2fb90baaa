"""The compiled net as two operators of PyTorch, with their derivatives: merge the maps, run them.

They are ``torch.ops.handgraph.merge`` and ``torch.ops.handgraph.unet``. Gradients of gradients are
left to PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from handgraph.nn.conv import Normalization
from handgraph.nn.cpu.layout import layout
from handgraph.nn.cpu.pack import levels_of, maps_of, pack_maps
from handgraph.nn.kernels.sizes import Sizes, flatten
from handgraph.nn.unet_maps import Bottleneck, Level, merge_maps

WORK_SPACE = 5 * 2**16
"""Numbers that the intermediates of a block may take: about what a core's second cache holds."""

LEAST, MOST = 16, 144
"""Samples in a block, which is a multiple of the former, and so of the tiles' LANES."""


def compiled_maps(
    levels: Sequence[Level], bottleneck: Bottleneck, normalization: Normalization
) -> Tensor:
    """``pack_maps(merge_maps(levels, bottleneck, normalization))``: ``[N, M]``."""
    out: Tensor = torch.ops.handgraph.merge(*flatten(levels, bottleneck), normalization)
    return out


def run_compiled(x: Tensor, maps: Tensor, sizes: Sizes, out_nodes: int) -> Tensor:
    """``maps_of(maps, sizes, out_nodes)(x)``: ``[N, J, C, B]`` to ``[N, J', C', B]``."""
    check_maps(x, maps)
    out: Tensor = torch.ops.handgraph.unet(x, maps, sizes.encode(), out_nodes)
    return out


def check_maps(x: Tensor, maps: Tensor) -> None:
    """Raise a TypeError unless the input is what the maps are."""
    if (x.dtype, x.device) != (maps.dtype, maps.device):
        raise TypeError(
            f"expected an input in the net's {maps.dtype} on {maps.device}, "
            f"got {x.dtype} on {x.device}"
        )


@torch.library.custom_op(
    "handgraph::merge",
    mutates_args=(),
    schema="(Tensor flat, int[] sizes, str normalization) -> Tensor",
)
def _merge(flat: Tensor, sizes: Sequence[int], normalization: str) -> Tensor:
    from handgraph.nn.cpu import batch  # needs numba

    net = Sizes.decode(sizes)
    shape, at, to, _ = layout(net)
    p = batch.by_branch(numbers(flat), net.branches, at.starts)
    return torch.from_numpy(batch.merge_all(p, at, to, shape, normalization == "signed"))


@_merge.register_fake
def _(flat: Tensor, sizes: Sequence[int], normalization: str) -> Tensor:
    net = Sizes.decode(sizes)
    return flat.new_empty(net.branches, layout(net).maps.size)


@torch.library.custom_op(
    "handgraph::merge_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor flat, Tensor maps, int[] sizes, str normalization) -> Tensor",
)
def _merge_backward(
    grad: Tensor, flat: Tensor, maps: Tensor, sizes: Sequence[int], normalization: str
) -> Tensor:
    from handgraph.nn.cpu import batch  # needs numba

    net = Sizes.decode(sizes)
    shape, at, to, _ = layout(net)
    p, dm = batch.by_branch(numbers(flat), net.branches, at.starts), numbers(grad).copy()
    dp = batch.unmerge_all(p, numbers(maps), dm, at, to, shape, normalization == "signed")
    return torch.from_numpy(batch.by_parameter(dp, at.starts))


@_merge_backward.register_fake
def _(grad: Tensor, flat: Tensor, maps: Tensor, sizes: Sequence[int], normalization: str) -> Tensor:
    return torch.empty_like(flat)


@torch.library.custom_op(
    "handgraph::unet",
    mutates_args=(),
    schema="(Tensor x, Tensor maps, int[] sizes, int out_nodes) -> Tensor",
)
def _unet(x: Tensor, maps: Tensor, sizes: Sequence[int], out_nodes: int) -> Tensor:
    from handgraph.nn.cpu import batch  # needs numba

    net = Sizes.decode(sizes)
    shape, _, to, rows = layout(net, out_nodes)
    out = x.new_empty(net.branches, out_nodes, net.out_channels, x.shape[3])
    block = block_size(rows.size, x.shape[3])
    w = work_space(x, rows.size * block)
    batch.run_all(numbers(maps), _rows(x), _rows(out), w, to, rows, shape, block)
    return out


@_unet.register_fake
def _(x: Tensor, maps: Tensor, sizes: Sequence[int], out_nodes: int) -> Tensor:
    net = Sizes.decode(sizes)
    return x.new_empty(net.branches, out_nodes, net.out_channels, x.shape[3])


@torch.library.custom_op(
    "handgraph::unet_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, Tensor maps, int[] sizes, int out_nodes) -> (Tensor, Tensor)",
)
def _unet_backward(
    grad: Tensor, x: Tensor, maps: Tensor, sizes: Sequence[int], out_nodes: int
) -> tuple[Tensor, Tensor]:
    from handgraph.nn.cpu import batch  # needs numba

    shape, _, to, rows = layout(Sizes.decode(sizes), out_nodes)
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    block = block_size(rows.size, x.shape[3])
    w, g = (work_space(x, rows.size * block) for _ in range(2))
    m, come, go, back = numbers(maps), _rows(x), _rows(grad), _rows(dx)
    return dx, torch.from_numpy(batch.run_all_back(m, come, go, back, w, g, to, rows, shape, block))


@_unet_backward.register_fake
def _(
    grad: Tensor, x: Tensor, maps: Tensor, sizes: Sequence[int], out_nodes: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), maps.new_empty(maps.shape)


def block_size(rows: int, samples: int) -> int:
    """How many of so many samples are taken at once, where each takes so many rows."""
    most = max(LEAST, min(MOST, WORK_SPACE // rows // LEAST * LEAST))
    return min(most, max(1, -(-samples // LEAST)) * LEAST)


def numbers(x: Tensor) -> NDArray[Any]:
    """As an array of NumPy's, copied only if it is not contiguous."""
    return x.detach().contiguous().numpy()


def work_space(like: Tensor, size: int) -> NDArray[Any]:
    """Uninitialised, from PyTorch's allocator, so that its tools see it."""
    return torch.empty(size, dtype=like.dtype).numpy()


def _rows(x: Tensor) -> NDArray[Any]:
    """``[N, J, C, B]`` as ``[N, J * C, B]``."""
    return numbers(x.flatten(1, 2))


def _save_merge(ctx: Any, inputs: tuple[Tensor, list[int], str], output: Tensor) -> None:  # noqa: ANN401
    flat, ctx.sizes, ctx.normalization = inputs
    ctx.save_for_backward(flat, output)


def _differentiate_merge(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
    flat, maps = ctx.saved_tensors
    if not torch.is_grad_enabled():
        how = ctx.sizes, ctx.normalization
        return torch.ops.handgraph.merge_backward(grad, flat, maps, *how), None, None
    again = merge_maps(*levels_of(flat, Sizes.decode(ctx.sizes)), ctx.normalization)
    (found,) = torch.autograd.grad(pack_maps(again), flat, grad, create_graph=True)
    return found, None, None


def _save_unet(
    ctx: Any,  # noqa: ANN401
    inputs: tuple[Tensor, Tensor, list[int], int],
    output: Tensor,
) -> None:
    x, maps, ctx.sizes, ctx.out_nodes = inputs
    ctx.save_for_backward(x, maps)


def _differentiate_unet(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
    x, maps = ctx.saved_tensors
    if not torch.is_grad_enabled():
        found = torch.ops.handgraph.unet_backward(grad, x, maps, ctx.sizes, ctx.out_nodes)
        return *found, None, None
    out = maps_of(maps, Sizes.decode(ctx.sizes), ctx.out_nodes)(x)
    wanted = [tensor for tensor in (x, maps) if tensor.requires_grad]
    some = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    both = [next(some) if tensor.requires_grad else None for tensor in (x, maps)]
    return both[0], both[1], None, None


_merge.register_autograd(_differentiate_merge, setup_context=_save_merge)
_unet.register_autograd(_differentiate_unet, setup_context=_save_unet)
