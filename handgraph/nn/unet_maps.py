"""The Adaptive Graph U-Net as a function of merged linear maps, for N branches at once.

Between two ReLUs everything in the net is linear. So each stage is one map over the nodes and one
over the channels, with the neighbouring maps of adjacency and pooling multiplied together. Inside,
tensors are node-major, ``[N, J, B, C]``: mixing nodes is one batched product on the view
``[N, J, B * C]``, mixing channels one on ``[N, J * B, C]``, and nothing is copied in between.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class EncoderMap(NamedTuple):
    """One stage down: nodes (they shrink), then channels (they grow), then ReLU.

    Shapes:
        - nodes: ``[N, J', J]``
        - node_bias: ``[N, J', 1]``
        - channels: ``[N, C, C']``
        - bias: ``[N, 1, C']``
    """

    nodes: Tensor
    node_bias: Tensor | None
    channels: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[N, J, B, C]`` to ``[N, J', B, C']``."""
        x = mix_nodes(x, self.nodes, self.node_bias)
        return mix_channels(x, self.channels, self.bias).relu_()


class DecoderMap(NamedTuple):
    """One stage up: channels (they shrink), then nodes, of the skip and of what comes from below.

    Shapes:
        - skip_nodes: ``[N, J, J]``
        - nodes: ``[N, J, J']``
        - skip_channels: ``[N, C, C']``
        - channels: ``[N, C, C']``
        - bias: ``[N, J, 1, C']``
    """

    skip_nodes: Tensor
    nodes: Tensor
    skip_channels: Tensor
    channels: Tensor
    bias: Tensor

    def __call__(self, skip: Tensor, x: Tensor) -> Tensor:
        """Map ``[N, J, B, C]`` and ``[N, J', B, C]`` to ``[N, J, B, C']``."""
        skip = mix_nodes(mix_channels(skip, self.skip_channels), self.skip_nodes)
        return mix_nodes(mix_channels(x, self.channels), self.nodes, skip.flatten(2)) + self.bias


class Down(Protocol):
    """One stage down."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Map ``[N, J, B, C]`` to ``[N, J', B, C']``."""


class Up(Protocol):
    """One stage up."""

    def __call__(self, skip: Tensor, x: Tensor, /) -> Tensor:
        """Map ``[N, J, B, C]`` and ``[N, J', B, C]`` to ``[N, J, B, C']``."""


class UNetMaps(NamedTuple):
    """All that the net computes with, in the order in which it does.

    ``encoder`` and ``decoder`` run from the finest level down; ``squeeze`` is the last pooling
    with the first layer of the bottleneck, ``expand`` and ``expand_bias`` its second. Where samples
    hide nodes of their own, the finest level has gated maps (:mod:`handgraph.nn.unet_gate`).
    """

    encoder: tuple[Down, ...]
    squeeze: EncoderMap
    expand: Tensor
    expand_bias: Tensor
    decoder: tuple[Up, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Map node-major ``[N, K, B, C]`` to ``[N, K, B, C']``."""
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


def mix_nodes(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map the nodes of ``[N, J, B, C]`` by ``[N, J', J]`` and add ``[N, J', 1]``."""
    flat = x.flatten(2)
    mixed = torch.bmm(matrix, flat) if bias is None else torch.baddbmm(bias, matrix, flat)
    return mixed.view(x.shape[0], matrix.shape[1], *x.shape[2:])


def mix_channels(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map the channels of ``[N, J, B, C]`` by ``[N, C, C']`` and add ``[N, 1, C']``."""
    flat = x.flatten(1, 2)
    mixed = torch.bmm(flat, matrix) if bias is None else torch.baddbmm(bias, flat, matrix)
    return mixed.view(*x.shape[:3], matrix.shape[2])
