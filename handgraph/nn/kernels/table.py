"""The table of a graph U-Net as one operator of PyTorch: two launches, and two on the way back.

The matrices of :func:`handgraph.nn.folded_unet.dense_stages` take a handful of small operations for
each stage, of which a GPU would wait for the launches only. Here all levels are merged at once, and
then all stages: see :mod:`handgraph.nn.kernels.layout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from handgraph.nn.conv import Normalization
from handgraph.nn.kernels import terms
from handgraph.nn.kernels.launch import precision, sum_dtype, triton_dtype
from handgraph.nn.kernels.layout import Layout, layout
from handgraph.nn.kernels.sizes import Sizes, flatten
from handgraph.nn.kernels.terms import Terms
from handgraph.nn.unet_maps import Bottleneck, Level

MERGE_WARPS = 8
"""Warps of the programs that each hold an adjacency."""


def net_table(
    levels: Sequence[Level], bottleneck: Bottleneck, normalization: Normalization
) -> Tensor:
    """``pack(dense_stages(merge_maps(levels, bottleneck, normalization)))``: ``[N, T]``."""
    table: Tensor
    table, _ = torch.ops.handgraph.table(*flatten(levels, bottleneck), normalization)
    return table


@torch.library.custom_op(
    "handgraph::table",
    mutates_args=(),
    schema="(Tensor flat, int[] sizes, str normalization) -> (Tensor, Tensor)",
)
def _table(flat: Tensor, sizes: Sequence[int], normalization: str) -> tuple[Tensor, Tensor]:
    from handgraph.nn.kernels import merge

    net = Sizes.decode(sizes)
    at, flat = layout(net, flat.device), flat.contiguous()
    merged = flat.new_empty(at.nodes.shape, dtype=sum_dtype(flat))
    table = flat.new_empty(net.branches, net.plan.table_size)
    with torch.cuda.device_of(flat):
        merge.merge_nodes[(len(at.nodes),)](
            flat, at.nodes, merged, at.nodes.shape[2], **_options(at, merged, normalization)
        )
    _add_terms(flat, flat, merged, table, at, at.table)
    return table, merged


@_table.register_fake
def _(flat: Tensor, sizes: Sequence[int], normalization: str) -> tuple[Tensor, Tensor]:
    net = Sizes.decode(sizes)
    table = flat.new_empty(net.branches, net.plan.table_size)
    return table, flat.new_empty(net.merged_shape, dtype=sum_dtype(flat))


@torch.library.custom_op(
    "handgraph::table_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor flat, Tensor merged, int[] sizes, str normalization) -> Tensor",
)
def _table_backward(
    grad: Tensor, flat: Tensor, merged: Tensor, sizes: Sequence[int], normalization: str
) -> Tensor:
    from handgraph.nn.kernels import merge

    at, flat = layout(Sizes.decode(sizes), flat.device), flat.contiguous()
    found = merged.new_empty(at.num_parameters + merged.numel())
    _add_terms(grad.contiguous(), flat, merged, found, at, at.back)
    with torch.cuda.device_of(flat):
        merge.merge_nodes_back[(len(at.nodes),)](
            flat, at.nodes, merged, found[at.num_parameters :], found, at.nodes.shape[2],
            **_options(at, merged, normalization),
        )  # fmt: skip
    return found[: at.num_parameters].to(flat.dtype)


@_table_backward.register_fake
def _(
    grad: Tensor, flat: Tensor, merged: Tensor, sizes: Sequence[int], normalization: str
) -> Tensor:
    return torch.empty_like(flat)


def _add_terms(
    left: Tensor, flat: Tensor, merged: Tensor, out: Tensor, at: Layout, listed: Terms
) -> None:
    """Write the listed sums of products: of ``left`` and a parameter, a merged entry or 1."""
    from handgraph.nn.kernels import merge

    with torch.cuda.device_of(flat):
        merge.add_terms[(len(listed.tiles),)](
            left, flat, merged, out, *listed, at.num_parameters,
            SIZE=terms.SIZE, SUM=triton_dtype(merged.dtype), enable_fp_fusion=True,
        )  # fmt: skip


def _options(at: Layout, merged: Tensor, normalization: str) -> dict[str, Any]:
    return {
        "NODES": at.nodes.shape[1],
        "ABS": normalization == "abs",
        "SUM": triton_dtype(merged.dtype),
        "PRECISION": precision(merged.dtype),
        "num_warps": MERGE_WARPS,
        "num_stages": 1,
        "enable_fp_fusion": True,
    }


def _save(ctx: Any, inputs: tuple[Tensor, list[int], str], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    flat, ctx.sizes, ctx.normalization = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(flat, output[1])


def _differentiate(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor, None, None]:  # noqa: ANN401
    found = torch.ops.handgraph.table_backward(
        grad, *ctx.saved_tensors, ctx.sizes, ctx.normalization
    )
    return found, None, None


_table.register_autograd(_differentiate, setup_context=_save)
