"""The Adaptive Graph U-Net as one node of autograd's graph: what a training step runs on.

The net is a few small products. Left to autograd, most of a training step goes into the bookkeeping
of the views and sums around them. So its derivative is written out (:mod:`handgraph.nn.unet_grad`);
the values are those of :mod:`handgraph.nn.unet_maps`. Second derivatives are left to autograd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from handgraph.nn.conv import Normalization
from handgraph.nn.mixing import channel_gradient, mix_channels, mix_nodes
from handgraph.nn.unet_grad import (
    Down,
    Merged,
    Up,
    UpGradient,
    cut_gradient,
    down_gradient,
    level_gradient,
    pool_nodes,
    run_down,
    run_merge,
    run_up,
    up_gradient,
)
from handgraph.nn.unet_maps import Bottleneck, Level, join_maps, level_maps, merge_maps


def run_net(
    x: Tensor, levels: Sequence[Level], bottleneck: Bottleneck, normalization: Normalization
) -> Tensor:
    """``merge_maps(levels, bottleneck, normalization)(x)``, with its derivative written out."""
    parameters = [parameter for level in levels for parameter in level]
    out: Tensor = _Net.apply(normalization, x, *parameters, *bottleneck)
    return out


class _Net(Function):
    @staticmethod
    def forward(ctx: Any, normalization: Normalization, *tensors: Tensor) -> Tensor:  # noqa: ANN401
        run, out = _run(_Inputs.of(tensors), normalization)
        ctx.normalization = normalization
        ctx.save_for_backward(*tensors, *(t for part in run for item in part for t in item))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        needed = ctx.needs_input_grad[1:]
        tensors, saved = ctx.saved_tensors[: len(needed)], ctx.saved_tensors[len(needed) :]
        inputs = _Inputs.of(tensors)
        if torch.is_grad_enabled() or _is_batched(grads[0]):  # for second derivatives, or many
            return None, *_by_autograd(tensors, ctx.normalization, needed, grads[0])
        run = _Run.of(iter(saved), len(inputs.levels))
        return None, *_gradients(inputs, run, ctx.normalization, needed[0], grads[0].contiguous())


class _Inputs(NamedTuple):
    x: Tensor
    levels: list[Level]
    bottleneck: Bottleneck

    @staticmethod
    def of(tensors: Sequence[Tensor]) -> _Inputs:
        """Take apart what :func:`run_net` put together."""
        size, end = len(Level._fields), len(tensors) - len(Bottleneck._fields)
        levels = [Level(*tensors[i : i + size]) for i in range(1, end, size)]
        return _Inputs(tensors[0], levels, Bottleneck(*tensors[end:]))


class _Run(NamedTuple):
    """What the forward pass leaves, finest level first.

    ``downs`` are one more than levels: the last is the first layer of the bottleneck.
    """

    merged: list[Merged]
    downs: list[Down]
    ups: list[Up]

    @staticmethod
    def of(saved: Iterator[Tensor], levels: int) -> _Run:
        """Take apart what ``forward`` saved."""
        return _Run(
            [Merged(*islice(saved, len(Merged._fields))) for _ in range(levels)],
            [Down(*islice(saved, len(Down._fields))) for _ in range(levels + 1)],
            [Up(*islice(saved, len(Up._fields))) for _ in range(levels)],
        )


def _run(inputs: _Inputs, normalization: Normalization) -> tuple[_Run, Tensor]:
    x, levels, bottleneck = inputs
    merged = [run_merge(levels, i, normalization) for i in range(len(levels))]
    products = ((m.laplacian, m.product) for m in merged)
    encoder, decoder = zip(*map(level_maps, levels, *zip(*products, strict=True)), strict=True)
    maps = join_maps(encoder, decoder, levels[-1], bottleneck)
    downs: list[Down] = []
    for down in (*encoder, maps.squeeze):
        downs.append(run_down(down, x))
        x = downs[-1].out
    x = mix_channels(x, maps.expand, maps.expand_bias)
    ups: list[Up] = []
    for i in reversed(range(len(levels))):
        up, x = run_up(decoder[i], downs[i].out, x.relu_())
        ups.insert(0, up)
    return _Run(merged, downs, ups), x


def _gradients(
    inputs: _Inputs, run: _Run, normalization: Normalization, with_x: bool, grad: Tensor
) -> list[Tensor | None]:
    """The gradients of all inputs, in their order."""
    _, levels, bottleneck = inputs
    ups: list[UpGradient] = []
    for level, merged, up in zip(levels, run.merged, run.ups, strict=True):
        ups.append(up_gradient(level, merged, up, grad))
        grad = cut_gradient(ups[-1].x, up.x)
    squeezed = run.downs[-1]
    expand = channel_gradient(grad, squeezed.out), grad.sum((1, 3))
    grad = cut_gradient(mix_channels(grad, bottleneck.expand.mT), squeezed.out)
    down, nodes = down_gradient(bottleneck.squeeze, squeezed, grad), levels[-1].pool
    parameters = [down.channels, down.bias, *expand]
    pool: tuple[Tensor, ...] = (down.nodes, down.node_bias)
    for i in reversed(range(len(levels))):
        level, merged, out = levels[i], run.merged[i], run.downs[i].out
        grad = cut_gradient(mix_nodes(down.mixed, nodes.mT).add_(ups[i].skip), out)
        down, nodes = down_gradient(level.down, run.downs[i], grad), pool_nodes(level, merged)
        found, above = level_gradient(level, merged, normalization, down, ups[i])
        parameters = [*found._replace(pool=pool[0], pool_bias=pool[1]), *parameters]
        pool = above
    return [mix_nodes(down.mixed, nodes.mT) if with_x else None, *parameters]


def _is_batched(grad: Tensor) -> bool:
    """Whether it is many gradients, as ``jacobian(..., vectorize=True)`` gives them."""
    batched: bool = torch._C._functorch.is_legacy_batchedtensor(grad)
    return batched


@torch.enable_grad()
def _by_autograd(
    tensors: Sequence[Tensor], normalization: Normalization, needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients that are needed, by operations that can be differentiated and batched."""
    x, levels, bottleneck = _Inputs.of(tensors)
    wanted = [tensor for tensor, need in zip(tensors, needed, strict=True) if need]
    out = merge_maps(levels, bottleneck, normalization)(x)
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]
