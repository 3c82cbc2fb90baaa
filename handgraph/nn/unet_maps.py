"""The Adaptive Graph U-Net as a function of merged linear maps, for N branches at once.

Between two ReLUs everything in the net is linear. So each stage is one map over the nodes and one
over the channels, with the neighbouring maps of adjacency and pooling multiplied together. Inside,
tensors are ``[N, J, C, B]``, the samples last: see :mod:`handgraph.nn.mixing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from handgraph.nn.conv import Normalization, normalize_adjacency
from handgraph.nn.mixing import add_nodes, mix_channels, mix_nodes


class EncoderMap(NamedTuple):
    """One stage down: nodes (they shrink), then channels (they grow), then ReLU.

    Shapes:
        - nodes: ``[N, J', J]``
        - node_bias: ``[N, J', 1]``
        - channels: ``[N, C', C]``
        - bias: ``[N, C', 1]``
    """

    nodes: Tensor
    node_bias: Tensor | None
    channels: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[N, J, C, B]`` to ``[N, J', C', B]``."""
        x = mix_nodes(x, self.nodes, self.node_bias)
        return mix_channels(x, self.channels, self.bias).relu_()


class DecoderMap(NamedTuple):
    """One stage up: channels (they shrink), then nodes, of the skip and of what comes from below.

    Shapes:
        - skip_nodes: ``[N, J, J]``
        - nodes: ``[N, J, J']``
        - skip_channels: ``[N, C', C]``
        - channels: ``[N, C', C]``
        - bias: ``[N, J, C', 1]``
    """

    skip_nodes: Tensor
    nodes: Tensor
    skip_channels: Tensor
    channels: Tensor
    bias: Tensor

    def __call__(self, skip: Tensor, x: Tensor) -> Tensor:
        """Map ``[N, J, C, B]`` and ``[N, J', C, B]`` to ``[N, J, C', B]``."""
        out = mix_nodes(mix_channels(skip, self.skip_channels), self.skip_nodes)
        return add_nodes(out, mix_channels(x, self.channels), self.nodes, self.bias)


class Down(Protocol):
    """One stage down."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Map ``[N, J, C, B]`` to ``[N, J', C', B]``."""


class Up(Protocol):
    """One stage up."""

    def __call__(self, skip: Tensor, x: Tensor, /) -> Tensor:
        """Map ``[N, J, C, B]`` and ``[N, J', C, B]`` to ``[N, J, C', B]``."""


class UNetMaps(NamedTuple):
    """All that the net computes with, in the order in which it does.

    ``encoder`` and ``decoder`` run from the finest level down; ``squeeze`` is the last pooling
    with the first layer of the bottleneck, ``expand`` ``[N, C, C']`` and ``expand_bias``
    ``[N, C, 1]`` its second. Where samples hide nodes of their own, the finest level has gated maps
    (:mod:`handgraph.nn.unet_gate`).
    """

    encoder: tuple[Down, ...]
    squeeze: EncoderMap
    expand: Tensor
    expand_bias: Tensor
    decoder: tuple[Up, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[N, K, C, B]`` to ``[N, K, C', B]``."""
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        x = mix_channels(self.squeeze(x), self.expand, self.expand_bias).relu_()
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](skips[level], x)
            if level > 0:
                x = x.relu_()
        return x


class Level(NamedTuple):
    """The parameters of one level: its learned adjacency, its layers, and the poolings below it.

    Shapes:
        - adjacency: ``[N, J, J]``, not normalised
        - down: ``[N, C', C]``; up: ``[N, C', 2 C]``; their biases: ``[N, C']``
        - pool: ``[N, J', J]``; pool_bias: ``[N, J', 1]``
        - unpool: ``[N, J, J']``; unpool_bias: ``[N, J, 1]``
    """

    adjacency: Tensor
    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor
    pool: Tensor
    pool_bias: Tensor
    unpool: Tensor
    unpool_bias: Tensor


class Bottleneck(NamedTuple):
    """The parameters of the two layers below the coarsest level, as :class:`torch.nn.Linear`'s."""

    squeeze: Tensor
    squeeze_bias: Tensor
    expand: Tensor
    expand_bias: Tensor


def merge_maps(
    levels: Sequence[Level],
    bottleneck: Bottleneck,
    normalization: Normalization,
    finest: tuple[Down, Up] | None = None,
) -> UNetMaps:
    """Multiply neighbouring linear maps of a net together.

    Args:
        levels: Its levels, finest first.
        bottleneck: What is below them.
        normalization: How the adjacencies are normalised.
        finest: Stages for the finest level, if they are made otherwise.
    """
    first = [] if finest is None else [finest]
    others = [merge_level(levels, i, normalization) for i in range(len(first), len(levels))]
    encoder, decoder = zip(*first, *others, strict=True)
    return join_maps(encoder, decoder, levels[-1], bottleneck)


def join_maps(
    encoder: Sequence[Down], decoder: Sequence[Up], coarsest: Level, bottleneck: Bottleneck
) -> UNetMaps:
    """Put the bottleneck between the stages down and the stages up."""
    squeeze = EncoderMap(
        coarsest.pool, coarsest.pool_bias, bottleneck.squeeze, bottleneck.squeeze_bias.unsqueeze(2)
    )
    expand_bias = bottleneck.expand_bias.unsqueeze(2)
    return UNetMaps(tuple(encoder), squeeze, bottleneck.expand, expand_bias, tuple(decoder))


def merge_level(
    levels: Sequence[Level], i: int, normalization: Normalization
) -> tuple[EncoderMap, DecoderMap]:
    """Multiply a level's adjacency with the poolings that lead to it."""
    laplacian = normalize_adjacency(levels[i].adjacency, normalization)
    return level_maps(levels[i], laplacian, laplacian @ level_steps(levels, i))


def level_steps(levels: Sequence[Level], i: int) -> Tensor:
    """What comes to a level by pooling and unpooling: ``[N, J, J' + 1 (+ J'' + 1)]``."""
    steps = [levels[i].unpool, levels[i].unpool_bias]
    above = [levels[i - 1].pool, levels[i - 1].pool_bias] if i > 0 else []
    return torch.cat([*steps, *above], dim=2)


def level_maps(level: Level, laplacian: Tensor, merged: Tensor) -> tuple[EncoderMap, DecoderMap]:
    """The stages of a level, from its normalised adjacency and that times its steps."""
    below = level.unpool.shape[2]
    down_bias, up_bias = level.down_bias.unsqueeze(2), level.up_bias[:, None, :, None]
    skip, deep = level.up.chunk(2, dim=2)
    unpool, unpool_bias, *pool = split_steps(merged, below)
    nodes, node_bias = pool if pool else (laplacian, None)
    constant = deep.sum(dim=2)[:, None, :, None]
    bias = torch.addcmul(up_bias, unpool_bias.unsqueeze(3), constant)
    return (
        EncoderMap(nodes, node_bias, level.down, down_bias),
        DecoderMap(laplacian, unpool, skip, deep, bias),
    )


def split_steps(steps: Tensor, below: int) -> tuple[Tensor, ...]:
    """Undo the concatenation of :func:`level_steps`, where J' nodes are below."""
    above = steps.shape[2] - below - 2
    sizes = [below, 1, above, 1] if above >= 0 else [below, 1]
    return tuple(steps.split_with_sizes(sizes, dim=2))
