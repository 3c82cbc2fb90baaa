r"""Derivatives of the stages of the Adaptive Graph U-Net, written out.

What the chain rule says of a stage: with :math:`\bar Z` for the gradient of Z,

.. math::
    Y = M X, \quad Z = W Y + b: \qquad
    \bar W = \bar Z Y^\top, \quad \bar Y = W^\top \bar Z, \quad
    \bar M = \bar Y X^\top, \quad \bar X = M^\top \bar Y

and, where there is a ReLU behind it, :math:`\bar Z` is 0 where Z is. Tensors are ``[N, J, C, B]``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.conv import Normalization, degree_scale
from handgraph.nn.mixing import (
    add_nodes,
    channel_gradient,
    mix_channels,
    mix_nodes,
    node_gradient,
)
from handgraph.nn.unet_maps import DecoderMap, EncoderMap, Level, level_steps, split_steps


class Down(NamedTuple):
    """What a stage down leaves: its input, that with its nodes mixed, and its output."""

    x: Tensor
    mixed: Tensor
    out: Tensor


class Up(NamedTuple):
    """What a stage up leaves: its inputs, and these with their channels mixed."""

    skip: Tensor
    x: Tensor
    mixed_skip: Tensor
    mixed: Tensor


class Merged(NamedTuple):
    """What merging the node maps of a level leaves.

    Shapes:
        - scale: ``[N, 1, J]``, see :func:`degree_scale`
        - laplacian: ``[N, J, J]``
        - steps, product: ``[N, J, S]``, see :func:`level_steps`
    """

    scale: Tensor
    laplacian: Tensor
    steps: Tensor
    product: Tensor


class DownGradient(NamedTuple):
    """Gradients of an :class:`EncoderMap` and of its input with its nodes mixed."""

    nodes: Tensor
    node_bias: Tensor
    channels: Tensor
    bias: Tensor
    mixed: Tensor


class UpGradient(NamedTuple):
    """Gradients of a :class:`DecoderMap` and of its inputs."""

    skip_nodes: Tensor
    nodes: Tensor
    skip_channels: Tensor
    channels: Tensor
    bias: Tensor
    skip: Tensor
    x: Tensor


def run_down(stage: EncoderMap, x: Tensor) -> Down:
    """``stage(x)``, and what led to it."""
    mixed = mix_nodes(x, stage.nodes, stage.node_bias)
    return Down(x, mixed, mix_channels(mixed, stage.channels, stage.bias).relu_())


def run_up(stage: DecoderMap, skip: Tensor, x: Tensor) -> tuple[Up, Tensor]:
    """What led to ``stage(skip, x)``, and the same."""
    mixed_skip, mixed = mix_channels(skip, stage.skip_channels), mix_channels(x, stage.channels)
    out = add_nodes(mix_nodes(mixed_skip, stage.skip_nodes), mixed, stage.nodes, stage.bias)
    return Up(skip, x, mixed_skip, mixed), out


def run_merge(levels: list[Level], i: int, normalization: Normalization) -> Merged:
    """What leads to :func:`merge_level`."""
    scale = degree_scale(levels[i].adjacency, normalization)
    laplacian = scale.mT * levels[i].adjacency * scale
    steps = level_steps(levels, i)
    return Merged(scale, laplacian, steps, torch.bmm(laplacian, steps))


def down_gradient(channels: Tensor, down: Down, grad: Tensor) -> DownGradient:
    """From the gradient of a stage's output before its ReLU."""
    mixed = mix_channels(grad, channels.mT)
    return DownGradient(
        node_gradient(mixed, down.x),
        mixed.sum((2, 3)).unsqueeze(2),
        channel_gradient(grad, down.mixed),
        grad.sum((1, 3)),
        mixed,
    )


def up_gradient(level: Level, merged: Merged, up: Up, grad: Tensor) -> UpGradient:
    """From the gradient of a stage's output before its ReLU."""
    skip_channels, channels = level.up.chunk(2, dim=2)
    nodes = split_steps(merged.product, level.unpool.shape[2])[0]
    mixed_skip, mixed = mix_nodes(grad, merged.laplacian.mT), mix_nodes(grad, nodes.mT)
    return UpGradient(
        node_gradient(grad, up.mixed_skip),
        node_gradient(grad, up.mixed),
        channel_gradient(mixed_skip, up.skip),
        channel_gradient(mixed, up.x),
        grad.sum(3),
        mix_channels(mixed_skip, skip_channels.mT),
        mix_channels(mixed, channels.mT),
    )


def cut_gradient(grad: Tensor, out: Tensor) -> Tensor:
    """The gradient before a ReLU that gave ``out``, in the place of the one behind it."""
    return torch.ops.aten.threshold_backward.grad_input(grad, out, 0, grad_input=grad)  # type: ignore[no-any-return]


def pool_nodes(level: Level, merged: Merged) -> Tensor:
    """The node map of the stage down to a level."""
    pool = split_steps(merged.product, level.unpool.shape[2])[2:]
    return pool[0] if pool else merged.laplacian


def level_gradient(
    level: Level, merged: Merged, normalization: Normalization, down: DownGradient, up: UpGradient
) -> tuple[Level, tuple[Tensor, ...]]:
    """Gradients of a level's parameters (but for its pool), and of the pool above it."""
    below = level.unpool.shape[2]
    _, channels = level.up.chunk(2, dim=2)
    unpool_bias = split_steps(merged.product, below)[1]
    constant = torch.bmm(up.bias.mT, unpool_bias)  # of unpooling: the same for all channels
    grads = [up.nodes, torch.bmm(up.bias, channels.sum(dim=2, keepdim=True))]
    laplacian = up.skip_nodes
    if merged.product.shape[2] > below + 1:
        grads += [down.nodes, down.node_bias]
    else:
        laplacian = laplacian + down.nodes
    product = torch.cat(grads, dim=2)
    laplacian = torch.baddbmm(laplacian, product, merged.steps.mT)
    steps = split_steps(torch.bmm(merged.laplacian.mT, product), below)
    found = Level(
        scale_gradient(level.adjacency, merged, normalization, laplacian),
        down.channels,
        down.bias,
        torch.cat([up.skip_channels, up.channels + constant], dim=2),
        up.bias.sum(1),
        level.pool,
        level.pool_bias,
        *steps[:2],
    )
    return found, steps[2:]


def scale_gradient(
    adjacency: Tensor, merged: Merged, normalization: Normalization, grad: Tensor
) -> Tensor:
    r"""The derivative of :math:`L = s_i A_{ij} s_j` with :math:`s_j = d_j^{-1/2}`."""
    scale, share = merged.scale, grad * merged.laplacian
    degree = (share.sum(1, keepdim=True) + share.sum(2).unsqueeze(1)).mul_(scale).mul_(scale)
    entries = (grad * scale.mT).mul_(scale)
    if normalization == "abs":
        return entries.addcmul_(adjacency.sign(), degree, value=-0.5)
    return entries.add_(degree, alpha=-0.5)
