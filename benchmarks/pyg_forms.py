"""The core's function with PyG layers.

``GCNConv`` receives the learned adjacency as edges between all pairs of nodes, with normalised
weights. This is its worst case, because the cost of message passing grows with the edges. Among
PyG's dense layers, ``DenseGINConv`` without self-loops computes the same function. ``DenseGCNConv``
normalises again and clamps degrees to at least 1. ``DenseGraphConv`` has a second linear map.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch_geometric.nn import DenseGINConv, GCNConv

from benchmarks.plain import PlainConv
from handgraph.nn import normalize_adjacency


@lru_cache(maxsize=64)
def all_pairs(num_nodes: int, batch: int, device: torch.device) -> Tensor:
    """Return edges between all pairs of nodes, sorted by target, in ``batch`` disjoint copies.

    They are cached, because a data loader would provide them.
    """
    node = torch.arange(num_nodes, device=device)
    pairs = torch.stack([node.repeat(num_nodes), node.repeat_interleave(num_nodes)])
    first = num_nodes * torch.arange(batch, device=device)
    return (pairs.unsqueeze(1) + first.unsqueeze(1)).flatten(1)


class StaticGCN(PlainConv):
    """``GCNConv`` on one static graph, ``[B, J, C]``."""

    def __init__(self, lin: nn.Linear, num_nodes: int) -> None:
        super().__init__(lin, num_nodes)
        self.conv: nn.Module = GCNConv(  # type: ignore[abstract]  # of all PyG layers
            lin.in_features, lin.out_features, normalize=False
        )
        self.conv.get_submodule("lin").weight = lin.weight
        self.conv.bias = lin.bias
        del self.lin

    @staticmethod
    def prepare(adj: Tensor) -> Tensor:
        """Return the edge weights ``[J * J]``, in the order of :func:`all_pairs`."""
        return normalize_adjacency(adj).flatten()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve ``[B, J, C]``."""
        out: Tensor = self.conv(x, all_pairs(self.num_nodes, 1, x.device), weight)
        return out


class DisjointGCN(StaticGCN):
    """``GCNConv`` on a batch of disjoint graphs, ``[B * J, C]``, as usual in PyG."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve ``[B, J, C]``."""
        edge_index = all_pairs(self.num_nodes, x.shape[0], x.device)
        out: Tensor = self.conv(x.flatten(0, 1), edge_index, weight.repeat(x.shape[0]))
        return out.reshape(*x.shape[:2], -1)


class DenseGIN(PlainConv):
    """``DenseGINConv`` without self-loops."""

    def __init__(self, lin: nn.Linear, num_nodes: int) -> None:
        super().__init__(lin, num_nodes)
        self.conv = DenseGINConv(
            nn.Identity()
        )  # it resets the parameters of the module it is given
        self.conv.nn = lin
        del self.lin

    @staticmethod
    def prepare(adj: Tensor) -> Tensor:
        """Normalise the adjacency."""
        return normalize_adjacency(adj)

    def forward(self, x: Tensor, laplacian: Tensor) -> Tensor:
        """Convolve ``[B, J, C]``."""
        out: Tensor = self.conv(x, laplacian, add_loop=False)
        return out
