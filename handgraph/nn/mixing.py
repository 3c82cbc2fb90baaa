"""Products over the nodes and over the channels of ``[N, J, C, B]``: branches, nodes, ..., samples.

The samples of a batch lie next to each other, since they are many and channels are few: mixing
nodes is one batched product on the view ``[N, J, C * B]``, mixing channels one on the view
``[N * J, C, B]``, and nothing is copied in between. Of few samples, all nodes of a branch are
multiplied at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad


def samples_last(x: Tensor, dims: int) -> Tensor:
    """Take ``[*, ...]`` to ``[..., B]``, its last ``dims`` dimensions kept: a view where it can."""
    lead = x.shape[: x.dim() - dims]
    return x.reshape(math.prod(lead), *x.shape[x.dim() - dims :]).movedim(0, -1)


def samples_first(x: Tensor, lead: Sequence[int]) -> Tensor:
    """Take ``[..., B]`` back to ``[*, ...]`` with the leading dimensions ``lead``."""
    return x.movedim(-1, 0).reshape(*lead, *x.shape[:-1])


def mix_nodes(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map the nodes of ``[N, J, C, B]`` by ``[N, J', J]`` and add ``[N, J', 1]``."""
    flat = x.flatten(2)
    mixed = torch.bmm(matrix, flat) if bias is None else torch.baddbmm(bias, matrix, flat)
    return mixed.view(x.shape[0], matrix.shape[1], *x.shape[2:])


def add_nodes(out: Tensor, x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """``out + mix_nodes(x, matrix) + bias``, in place where it can."""
    if is_plain(x):
        out.flatten(2).baddbmm_(matrix, x.flatten(2))
        return out.add_(bias)
    mixed = mix_nodes(x, matrix, out.flatten(2))
    return mixed + bias.to(mixed.dtype)  # autocast lowers products only


def is_plain(x: Tensor) -> bool:
    """Whether operations are just run: not traced, cast, batched or given a tangent."""
    return not (torch.compiler.is_compiling() or is_cast(x) or is_transformed())


def is_cast(x: Tensor) -> bool:
    """Whether autocast is on for a device that has it: the meta device has none."""
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_transformed() -> bool:
    """Whether operations are batched or given a tangent: what a compiled program asks once."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active or has_tangents()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_tangents() -> bool:
    """Whether forward-mode differentiation is at work."""
    return forward_ad._current_level >= 0


def node_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """The matrix's gradient, ``[N, J', J]``, from that of what :func:`mix_nodes` gave."""
    return torch.bmm(grad.flatten(2), x.flatten(2).mT)


def mix_channels(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map the channels of ``[N, J, C, B]`` by ``[N, C', C]`` and add ``[N, C', 1]``."""
    if _are_few(x, matrix.shape[1]):
        rows = _multiply(_by_branch(x), matrix.mT, None if bias is None else bias.mT)
        return _from_branch(rows, x.shape[1], x.shape[3])
    nodes = x.shape[1]
    bias = None if bias is None else _per_node(bias, nodes)
    mixed = _multiply(_per_node(matrix, nodes), x.flatten(0, 1), bias)
    return mixed.view(x.shape[0], nodes, matrix.shape[1], x.shape[3])


def channel_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """The matrix's gradient, ``[N, C', C]``, from that of what :func:`mix_channels` gave."""
    if _are_few(x, grad.shape[2]):
        return torch.bmm(_by_branch(grad).mT, _by_branch(x))
    each = torch.bmm(grad.flatten(0, 1), x.flatten(0, 1).mT)
    return each.view(*x.shape[:2], *each.shape[1:]).sum(dim=1)


def _are_few(x: Tensor, channels: int) -> bool:
    """Whether a product for each node would be one of tall matrices with hardly any columns."""
    if torch.compiler.is_compiling():  # one program for all batch sizes
        return False
    samples = x.shape[3]
    return samples == 1 or (samples < FEW_SAMPLES and x.shape[2] * channels >= WIDE)


FEW_SAMPLES = 32
WIDE = 1024


def _multiply(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.bmm(a, b) if bias is None else torch.baddbmm(bias, a, b)


def _per_node(matrix: Tensor, nodes: int) -> Tensor:
    """Repeat the matrix of each branch for its nodes: ``[N, C', C]`` to ``[N * J, C', C]``."""
    if matrix.shape[0] == 1:
        return matrix.expand(nodes, -1, -1)
    return matrix.unsqueeze(1).expand(-1, nodes, -1, -1).flatten(0, 1)


def _by_branch(x: Tensor) -> Tensor:
    """``[N, J, C, B]`` to ``[N, J * B, C]``."""
    return x.flatten(2) if x.shape[3] == 1 else x.transpose(2, 3).flatten(1, 2)


def _from_branch(rows: Tensor, nodes: int, samples: int) -> Tensor:
    """``[N, J * B, C]`` to ``[N, J, C, B]``."""
    if samples == 1:
        return rows.unsqueeze(3)
    mixed = rows.view(len(rows), nodes, samples, rows.shape[2])
    return mixed.transpose(2, 3).contiguous()
