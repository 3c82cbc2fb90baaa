"""The chain as one operator of PyTorch: what autograd, compile and export see of the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from handgraph.nn.kernels import launch
from handgraph.nn.kernels.plan import Plan, decode
from handgraph.nn.mixing import has_tangents, is_cast


def chain(x: Tensor, table: Tensor, plan: Plan) -> Tensor:
    r"""Run N chains of dense maps with ReLUs and skips in one kernel.

    .. math:: h_0 = x, \qquad h_i = \mathrm{ReLU}_i\Big(\sum_{s \in S_i} h_s M_{is} + b_i\Big)

    The operator ``torch.ops.handgraph.chain``, written in Triton: one launch, and two on the way
    back. Both ways give the same bits every time. Gradients of gradients are not there: switch
    the kernels off (:func:`disabled`) where modules need them. float32 is exact to rounding;
    ``torch.backends.cuda.matmul.fp32_precision = "tf32"`` allows TF32 here as elsewhere, and under
    autocast the operands are cast.

    Args:
        x: The inputs. On a CUDA device, or anywhere in Triton's interpreter.
        table: The matrices and biases, as :meth:`Plan.pack` lays them out.
        plan: The sizes.

    Shapes:
        - x: ``[B, N, W]``
        - table: ``[N, T]``, T being ``plan.table_size``
        - output: ``[B, N, W']``

    Raises:
        ValueError: If the shapes do not fit the plan, there are too many branches, the devices
            differ, a stage reads what does not come before it, or the last has a ReLU.
        TypeError: If dtypes differ, or are not floating.
        NotImplementedError: In forward-mode differentiation.

    Example:
        >>> import torch
        >>> from handgraph.nn.kernels import Plan, Stage, chain
        >>> plan = Plan(48, (Stage((0,), 64, True), Stage((0, 1), 10, False)))
        >>> x, table = (torch.empty(size, device="meta") for size in [(8, 4, 48), (4, 12416)])
        >>> chain(x, table, plan).shape  # without numbers here; with them on CUDA
        torch.Size([8, 4, 10])
    """
    if is_cast(x):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, table = x.to(dtype), table.to(dtype)
    if has_tangents():
        raise NotImplementedError("chain: there is no forward-mode derivative of it")
    out: Tensor = torch.ops.handgraph.chain(x, table, plan.encode())
    return out


def _checked(x: Tensor, table: Tensor, flat: Sequence[int]) -> Plan:
    """The plan, if all fits: asked within the operator, where nothing is traced."""
    plan = decode(flat)
    expected = [*x.shape[1:2], plan.table_size]
    if x.dim() != 3 or x.shape[2] != plan.in_width or list(table.shape) != expected:
        raise ValueError(
            f"chain: expected x [B, N, {plan.in_width}] and table [N, {plan.table_size}], "
            f"got {list(x.shape)} and {list(table.shape)}"
        )
    if len(table) > launch.MAX_BRANCHES or table.numel() > launch.MAX_TABLE:
        raise ValueError(
            f"chain: expected a table of up to {launch.MAX_BRANCHES} branches and "
            f"{launch.MAX_TABLE} numbers, got {list(table.shape)}"
        )
    if x.device != table.device:
        raise ValueError(
            f"chain: expected x and table on one device, got {x.device} and {table.device}"
        )
    if x.dtype != table.dtype or not x.is_floating_point():
        raise TypeError(
            f"chain: expected x and table of one floating-point dtype, got {x.dtype} and "
            f"{table.dtype}"
        )
    return plan


@torch.library.custom_op(
    "handgraph::chain", mutates_args=(), schema="(Tensor x, Tensor table, int[] plan) -> Tensor"
)
def _chain(x: Tensor, table: Tensor, plan: Sequence[int]) -> Tensor:
    return launch.forward(x.contiguous(), table.contiguous(), _checked(x, table, plan))


@_chain.register_fake
def _(x: Tensor, table: Tensor, plan: Sequence[int]) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], _checked(x, table, plan).widths[-1])


@torch.library.custom_op(
    "handgraph::chain_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, Tensor table, int[] plan) -> (Tensor, Tensor)",
)
def _chain_backward(
    grad: Tensor, x: Tensor, table: Tensor, plan: Sequence[int]
) -> tuple[Tensor, Tensor]:
    return launch.backward(grad.contiguous(), x.contiguous(), table.contiguous(), decode(plan))


@_chain_backward.register_fake
def _(grad: Tensor, x: Tensor, table: Tensor, plan: Sequence[int]) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), table.new_empty(table.shape)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, list[int]], output: Tensor) -> None:  # noqa: ANN401
    x, table, ctx.plan = inputs
    ctx.save_for_backward(x, table)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
    return *torch.ops.handgraph.chain_backward(grad, *ctx.saved_tensors, ctx.plan), None


_chain.register_autograd(_differentiate, setup_context=_save)
