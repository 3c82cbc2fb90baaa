r"""The finest level of the graph U-Net when every sample has its own hidden nodes.

A mask for each sample cannot be multiplied into the matrices, which all samples share. But a
normalised adjacency is a matrix between two diagonal ones, and so is its restriction to a mask:

.. math:: L(A)_{ij} = d_i^{-1/2} A_{ij} d_j^{-1/2}, \qquad
          L_g = \mathrm{diag}(r)\, A\, \mathrm{diag}(s), \qquad
          r_i = d_i^{-1/2}, \quad s_j = d_j^{-1/2} g_j

where g is the gate, 0 for a hidden node and 1 for one that is there; what a hidden node receives is
dropped. So a masked net costs two multiplications by vectors more than one without. Below the
finest level no node is a joint, and everything stays as it was. Tensors are node-major,
``[N, J, C, B]``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from handgraph.nn.conv import EPS, Normalization
from handgraph.nn.mixing import mix_channels, mix_nodes
from handgraph.nn.pool import NodeMap
from handgraph.nn.unet_maps import Level


class GatedAdjacency(NamedTuple):
    """A learned adjacency, normalised for the nodes that each sample has.

    Shapes:
        - adjacency: ``[N, J, J]``, not normalised
        - receive, send, gate: ``[N, J, 1, B]``
    """

    adjacency: Tensor
    receive: Tensor
    send: Tensor
    gate: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Send over the edges: ``[N, J, C, B]`` to the same shape."""
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
    return GatedAdjacency(adjacency, *(g.unsqueeze(2) for g in (scale, scale * gate, gate)))


class GatedEncoderMap(NamedTuple):
    """The first stage down: convolve among the nodes that are there.

    Shapes:
        - channels: ``[N, C', C]``
        - bias: ``[N, C', 1]``
    """

    adjacency: GatedAdjacency
    channels: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[N, J, C, B]`` to ``[N, J, C', B]``; a hidden node has 0."""
        x = mix_channels(self.adjacency(x), self.channels, self.bias).relu_()
        return self.adjacency.gate * x


class GatedDecoderMap(NamedTuple):
    """The last stage up: unpool to the nodes that are there, and convolve among them.

    Shapes:
        - skip_channels, channels: ``[N, C', C]``
        - bias: ``[N, 1, C', 1]``
    """

    adjacency: GatedAdjacency
    unpool: NodeMap
    skip_channels: Tensor
    channels: Tensor
    bias: Tensor

    def __call__(self, skip: Tensor, x: Tensor) -> Tensor:
        """Map ``[N, J, C, B]`` and ``[N, J', C, B]`` to ``[N, J, C', B]``."""
        unpooled = mix_nodes(mix_channels(x, self.channels), self.unpool.matrix)
        constant = self.unpool.bias * self.channels.sum(dim=2).unsqueeze(1)
        sent = mix_channels(skip, self.skip_channels) + unpooled + constant.unsqueeze(3)
        return self.adjacency(sent) + self.bias


def gate_level(
    level: Level, gate: Tensor, normalization: Normalization, renormalize: bool
) -> tuple[GatedEncoderMap, GatedDecoderMap]:
    """The stages of the finest level; for the arguments see :func:`gate_adjacency`."""
    graph = gate_adjacency(level.adjacency, gate, normalization, renormalize)
    skip, deep = level.up.chunk(2, dim=2)
    unpool = NodeMap(level.unpool, level.unpool_bias)
    return (
        GatedEncoderMap(graph, level.down, level.down_bias.unsqueeze(2)),
        GatedDecoderMap(graph, unpool, skip, deep, level.up_bias[:, None, :, None]),
    )
