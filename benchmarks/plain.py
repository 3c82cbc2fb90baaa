"""The core's function in plain PyTorch: one graph U-Net after the other, layer by layer."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.sizes import Core
from handgraph.nn import AdaptiveGraphConv, AdaptiveGraphUNet, normalize_adjacency


class PlainConv(nn.Module):
    """Base class of the contestants' convolutions over a learned adjacency.

    Args:
        lin: The layer's linear map over channels.
        num_nodes: J, the number of nodes.
    """

    def __init__(self, lin: nn.Linear, num_nodes: int) -> None:
        super().__init__()
        self.lin = lin
        self.num_nodes = num_nodes

    @staticmethod
    def prepare(adj: Tensor) -> Tensor:
        """Prepare an adjacency ``[J, J]``, once per level and forward pass."""
        return adj


class HopeNetConv(PlainConv):
    """The convolution of HOPE-Net's code, which normalises the adjacency for every sample."""

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Convolve ``[B, J, C]``."""
        repeated = adj.unsqueeze(0).repeat(x.shape[0], 1, 1)
        scale = (repeated.abs().sum(dim=1) + 1e-5) ** -0.5
        laplacian = scale.unsqueeze(2) * repeated * scale.unsqueeze(1)
        out: Tensor = self.lin(torch.matmul(laplacian, x))
        return out


class NormalizedOnceConv(PlainConv):
    """The same convolution with the adjacency normalised once and broadcast."""

    @staticmethod
    def prepare(adj: Tensor) -> Tensor:
        """Normalise the adjacency."""
        return normalize_adjacency(adj)

    def forward(self, x: Tensor, laplacian: Tensor) -> Tensor:
        """Convolve ``[B, J, C]``."""
        out: Tensor = self.lin(torch.matmul(laplacian, x))
        return out


class PlainUNet(nn.Module):
    """One branch of an :class:`AdaptiveGraphUNet`, with a copy of its parameters.

    Args:
        net: The library's net. Its branches must have the same number of nodes.
        branch: Index of the branch; 0 for a net over one skeleton.
        conv: Class of the convolutions.
    """

    def __init__(self, net: AdaptiveGraphUNet, branch: int, conv: type[PlainConv]) -> None:
        super().__init__()
        if net.is_ragged:
            raise ValueError(f"{net}: expected branches with equally many nodes")

        def pick(layer: nn.Module) -> nn.Linear:
            return _linear(cast("Tensor", layer.weight)[branch], cast("Tensor", layer.bias)[branch])

        def convs(layers: nn.ModuleList) -> nn.ModuleList:
            lins = [pick(c.lin) for c in cast("list[AdaptiveGraphConv]", layers)]
            return nn.ModuleList(conv(lin, n) for lin, n in zip(lins, net.nodes[:-1], strict=True))

        self.prepare = conv.prepare
        self.adjacency = nn.ParameterList(a[branch].detach().clone() for a in net.adjacency)
        self.encoder, self.decoder = convs(net.encoder), convs(net.decoder)
        self.pools = nn.ModuleList(map(pick, net.pools))
        self.unpools = nn.ModuleList(map(pick, net.unpools))
        self.squeeze, self.expand = pick(net.squeeze), pick(net.expand)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, J, C]`` to ``[B, J, C']``."""
        graphs = [self.prepare(adj) for adj in self.adjacency]
        skips = []
        for conv, pool, graph in zip(self.encoder, self.pools, graphs, strict=True):
            skips.append(conv(x, graph).relu())
            x = pool(skips[-1].transpose(1, 2)).transpose(1, 2)
        x = self.expand(self.squeeze(x).relu()).relu()
        for level in reversed(range(len(graphs))):
            x = self.unpools[level](x.transpose(1, 2)).transpose(1, 2)
            x = self.decoder[level](torch.cat([skips[level], x], dim=-1), graphs[level])
            if level > 0:
                x = x.relu()
        return x


class InTurn(nn.Module):
    """Run one net per branch, one after the other. ``[B, N, K, C] -> [B, N, K, C']``."""

    def __init__(self, nets: list[PlainUNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> Tensor:
        """Run the nets and stack their outputs."""
        return torch.stack([net(x[:, n]) for n, net in enumerate(self.nets)], dim=1)


def plain_core(core: Core, conv: type[PlainConv]) -> Core:
    """Copy a core with plain nets instead of the library's.

    All contestants use the library's code to gather the input of the branches and assemble the
    input of the ensemble network, so that only the nets differ.
    """
    net = cast("AdaptiveGraphUNet", core.branches)
    branches = InTurn([PlainUNet(net, n, conv) for n in range(len(net.node_mask))])
    merge = copy.deepcopy(core.merge)
    merge.unet = PlainUNet(cast("AdaptiveGraphUNet", merge.unet), 0, conv)
    return Core(core.split, branches, merge, core.feature_nodes)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    lin = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        lin.weight.copy_(weight)
        lin.bias.copy_(bias.flatten())
    return lin
