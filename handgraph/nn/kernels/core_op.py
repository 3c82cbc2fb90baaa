"""PSJNet's core for inference in one kernel, as one operator of PyTorch: ``handgraph::chain_core``.

It has no derivative: what is folded has no parameters, and where a gradient of the input is wanted,
the branches and the merger have one each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from handgraph.nn.kernels import launch
from handgraph.nn.kernels.launch import Net
from handgraph.nn.kernels.plan import decode
from handgraph.nn.mixing import is_cast


def chain_core(x: Tensor, branches: Net, merger: Net) -> Tensor:
    """Split, run the branches and merge: ``[B, F]`` to ``[B, W']``."""
    tables = [branches.table, merger.table]
    if is_cast(x):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, *tables = (tensor.to(dtype) for tensor in (x, *tables))
    if any(table.dtype != x.dtype for table in tables):
        raise TypeError(f"folded core: expected an input of {tables[0].dtype}, got {x.dtype}")
    if any(table.device != x.device for table in tables):
        raise ValueError(f"folded core: expected an input on {tables[0].device}, got {x.device}")
    sources, plans = (branches.source, merger.source), (branches.plan, merger.plan)
    codes = [plan.encode() for plan in plans]
    out: Tensor = torch.ops.handgraph.chain_core(x, *tables, *sources, *codes)
    return out


@torch.library.custom_op(
    "handgraph::chain_core",
    mutates_args=(),
    schema="(Tensor x, Tensor table, Tensor merger_table, Tensor source, Tensor merger_source, "
    "int[] plan, int[] merger_plan) -> Tensor",
)
def _chain_core(
    x: Tensor,
    table: Tensor,
    merger_table: Tensor,
    source: Tensor,
    merger_source: Tensor,
    plan: Sequence[int],
    merger_plan: Sequence[int],
) -> Tensor:
    branches = Net(decode(plan), table.contiguous(), source.contiguous())
    merger = Net(decode(merger_plan), merger_table.contiguous(), merger_source.contiguous())
    return launch.core(x.contiguous(), branches, merger)


@_chain_core.register_fake
def _(x: Tensor, *others: Any) -> Tensor:
    return x.new_empty(x.shape[0], decode(others[-1]).widths[-1])
