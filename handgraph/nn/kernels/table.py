"""The table of a graph U-Net as one operator of PyTorch, with its derivative written out.

The matrices of :func:`handgraph.nn.folded_unet.dense_stages` take a handful of small operations for
each stage, of which a GPU would wait for the launches only. Here all levels are one batch, and all
stages one product of gathered numbers: see :mod:`handgraph.nn.kernels.layout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handgraph.nn.conv import Normalization, degree_scale
from handgraph.nn.kernels.layout import Layout, layout
from handgraph.nn.kernels.sizes import Sizes, flatten
from handgraph.nn.unet_grad import Merged, scale_gradient
from handgraph.nn.unet_maps import Bottleneck, Level


def net_table(
    levels: Sequence[Level], bottleneck: Bottleneck, normalization: Normalization
) -> Tensor:
    """``pack(dense_stages(merge_maps(levels, bottleneck, normalization)))``: ``[N, T]``."""
    out: Tensor = torch.ops.handgraph.table(*flatten(levels, bottleneck), normalization)
    return out


class _Numbers(NamedTuple):
    """What a table is made of, and the node maps of all levels in it."""

    adjacency: Tensor
    merged: Merged
    vector: Tensor


def _numbers(flat: Tensor, normalization: Normalization, at: Layout) -> _Numbers:
    constants = at.constants.to(flat.dtype)
    padded = torch.cat([flat, constants])
    adjacency, steps = padded[at.adjacency], padded[at.steps]
    scale = degree_scale(adjacency, normalization)
    laplacian = scale.mT * adjacency * scale
    product = torch.bmm(laplacian, steps)
    sums = padded[at.sums].sum(dim=1)
    vector = torch.cat([flat, sums, laplacian.flatten(), product.flatten(), constants])
    return _Numbers(adjacency, Merged(scale, laplacian, steps, product), vector)


@torch.library.custom_op(
    "handgraph::table",
    mutates_args=(),
    schema="(Tensor flat, int[] sizes, str normalization) -> Tensor",
)
def _table(flat: Tensor, sizes: Sequence[int], normalization: Normalization) -> Tensor:
    at = layout(Sizes.decode(sizes), flat.device)
    vector = _numbers(flat, normalization, at).vector
    return torch.addcmul(vector[at.rest], vector[at.left], vector[at.right])


@_table.register_fake
def _(flat: Tensor, sizes: Sequence[int], normalization: str) -> Tensor:
    net = Sizes.decode(sizes)
    return flat.new_empty(net.branches, net.plan.table_size)


@torch.library.custom_op(
    "handgraph::table_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor flat, int[] sizes, str normalization) -> Tensor",
)
def _table_backward(
    grad: Tensor, flat: Tensor, sizes: Sequence[int], normalization: Normalization
) -> Tensor:
    at = layout(Sizes.decode(sizes), flat.device)
    adjacency, merged, vector = _numbers(flat, normalization, at)
    found = at.of_numbers(grad * vector[at.right], grad * vector[at.left], grad)
    direct, sums, laplacian, product = found.split(at.sizes)
    product = product.view_as(merged.product)
    laplacian = torch.baddbmm(laplacian.view_as(merged.laplacian), product, merged.steps.mT)
    entries = scale_gradient(adjacency, merged, normalization, laplacian)
    steps = torch.bmm(merged.laplacian.mT, product)
    return at.of_parameters(entries, steps, sums.unsqueeze(1).expand_as(at.sums)).add_(direct)


@_table_backward.register_fake
def _(grad: Tensor, flat: Tensor, sizes: Sequence[int], normalization: str) -> Tensor:
    return torch.empty_like(flat)


def _save(ctx: Any, inputs: tuple[Tensor, list[int], str], output: Tensor) -> None:  # noqa: ANN401
    flat, ctx.sizes, ctx.normalization = inputs
    ctx.save_for_backward(flat)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
    (flat,) = ctx.saved_tensors
    found = torch.ops.handgraph.table_backward(grad, flat, ctx.sizes, ctx.normalization)
    return found, None, None


_table.register_autograd(_differentiate, setup_context=_save)
