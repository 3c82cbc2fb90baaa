r"""The finest level of the graph U-Net when every sample has its own hidden nodes.

A mask for each sample cannot be multiplied into the matrices, which all samples share. But a
normalised adjacency is a matrix between two diagonal ones, and so is its restriction to a mask:

.. math:: L(A)_{ij} = d_i^{-1/2} A_{ij} d_j^{-1/2}, \qquad
          L_g = \mathrm{diag}(r)\, A\, \mathrm{diag}(s), \qquad
          r_i = d_i^{-1/2}, \quad s_j = d_j^{-1/2} g_j

where g is the gate, 0 for a hidden node and 1 for one that is there; what a hidden node receives is
dropped. So a masked net costs two multiplications by vectors more than one without. Below the
finest level no node is a joint, and everything stays as it was. Tensors are node-major,
``[N, J, B, C]``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.conv import EPS, Normalization
from handgraph.nn.pool import NodeMap
from handgraph.nn.unet_maps import UNetMaps, mix_channels, mix_nodes


class GatedAdjacency(NamedTuple):
    """A learned adjacency, normalised for the nodes that each sample has.

    Shapes:
        - adjacency: ``[N, J, J]``, not normalised
        - receive, send, gate: ``[N, J, B, 1]``
    """

    adjacency: Tensor
    receive: Tensor
    send: Tensor
    gate: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Send over the edges: ``[N, J, B, C]`` to the same shape."""
        return self.receive * mix_nodes(self.send * x, self.adjacency)


def gate_adjacency(
    adjacency: Tensor, gate: Tensor, normalization: Normalization, renormalize: bool
) -> GatedAdjacency:
    """Restrict a learned adjacency to what each sample's gate lets through.

    Args:
        adjacency: Learned adjacency of each branch. ``[N, J, J]``
        gate: How much each node sends; a node whose gate is 0 is hidden. ``[N, J, B]``
        normalization: How entries become degrees.
        renormalize: Whether degrees are sums over what is sent, or over all nodes.
    """
    entries = adjacency.abs() if normalization == "abs" else adjacency
    degree = torch.bmm(entries.mT, gate if renormalize else torch.ones_like(gate)) + EPS
    scale = degree.where(gate != 0, 1).pow(-0.5)  # signed degrees of hidden nodes have no root
    return GatedAdjacency(adjacency, *(g.unsqueeze(-1) for g in (scale, scale * gate, gate)))


class GatedEncoderMap(NamedTuple):
    """The first stage down: convolve among the nodes that are there.

    Shapes:
        - channels: ``[N, C, C']``
        - bias: ``[N, 1, C']``
    """

    adjacency: GatedAdjacency
    channels: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[N, J, B, C]`` to ``[N, J, B, C']``; a hidden node has 0."""
        x = mix_channels(self.adjacency(x), self.channels, self.bias).relu_()
        return self.adjacency.gate * x


class GatedDecoderMap(NamedTuple):
    """The last stage up: unpool to the nodes that are there, and convolve among them.

    Shapes:
        - skip_channels, channels: ``[N, C, C']``
        - bias: ``[N, 1, 1, C']``
    """

    adjacency: GatedAdjacency
    unpool: NodeMap
    skip_channels: Tensor
    channels: Tensor
    bias: Tensor

    def __call__(self, skip: Tensor, x: Tensor) -> Tensor:
        """Map ``[N, J, B, C]`` and ``[N, J', B, C]`` to ``[N, J, B, C']``."""
        unpooled = mix_nodes(mix_channels(x, self.channels), self.unpool.matrix)
        constant = self.unpool.bias * self.channels.sum(dim=1, keepdim=True)
        sent = mix_channels(skip, self.skip_channels) + unpooled + constant.unsqueeze(2)
        return self.adjacency(sent) + self.bias


class FinestLevel(NamedTuple):
    """The finest level before anything is merged: what gated maps are made of.

    Shapes:
        - adjacency: ``[N, J, J]``, not normalised
        - down, skip, deep: ``[N, C, C']``, channels of encoder and decoder
        - down_bias: ``[N, 1, C']``; up_bias: ``[N, 1, 1, C']``
        - unpool, unpool_bias: ``[N, J, J']`` and ``[N, J, 1]``
    """

    adjacency: Tensor
    down: Tensor
    down_bias: Tensor
    unpool: Tensor
    unpool_bias: Tensor
    skip: Tensor
    deep: Tensor
    up_bias: Tensor

    def gate(
        self, maps: UNetMaps, gate: Tensor, normalization: Normalization, renormalize: bool
    ) -> UNetMaps:
        """Put gated maps in the place of this level's; the arguments of :func:`gate_adjacency`."""
        graph = gate_adjacency(self.adjacency, gate, normalization, renormalize)
        encode = GatedEncoderMap(graph, self.down, self.down_bias)
        unpool = NodeMap(self.unpool, self.unpool_bias)
        decode = GatedDecoderMap(graph, unpool, self.skip, self.deep, self.up_bias)
        return maps._replace(
            encoder=(encode, *maps.encoder[1:]), decoder=(decode, *maps.decoder[1:])
        )
