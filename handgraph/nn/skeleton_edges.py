"""Base class and checks of skeleton convolutions: each graph must be their skeleton."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import sort_edge_index

from handgraph._check import check_sizes, check_skeleton, check_tensor
from handgraph.nn.constants import HasConstants
from handgraph.nn.made_for import MadeFor
from handgraph.skeleton import Skeleton


class SkeletonEdges(HasConstants, MadeFor):
    """Check that x and ``edge_index`` are copies of one skeleton, and count the copies.

    Layers with parameters per joint or per edge work on one skeleton only. They accept both layouts
    of PyG: the static ``[*, J, C]`` with the skeleton's ``edge_index``, and the disjoint
    ``[B * J, C]`` with B copies of it, as in a ``Batch``. The order of the edges does not matter.

    Shapes are always checked. The values of the edges are checked in eager mode only, which costs
    one synchronisation on a GPU. Under ``torch.compile`` and ``torch.export``, a branch on values
    would break the graph, so compiled layers do not check them.

    Args:
        layer: Name of the layer in error messages.
        in_channels: Size of each input node.
        skeleton: The skeleton that each graph must be.

    Shapes:
        - x: ``[*, B * J, in_channels]``, B copies of the skeleton
        - edge_index: Long ``[2, B * E]`` with both directions of every edge

    Returns:
        B, the number of copies; 1 in the static layout.

    Raises:
        ValueError: If x has the wrong shape, or the edges are not those of B copies.
        TypeError: If ``skeleton`` is not a skeleton, or ``edge_index`` does not contain integers.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import SkeletonEdges
        >>> SkeletonEdges("layer", 2, HAND)(torch.rand(8, 21, 2), HAND.edge_index)
        1
    """

    edge_index: Tensor
    graph_attribute = "skeleton"

    def __init__(self, layer: str, in_channels: int, skeleton: Skeleton):
        super().__init__()
        check_skeleton(skeleton, layer)
        self.layer = layer
        self.in_channels = in_channels
        self.skeleton = skeleton
        self.register_constants(edge_index=skeleton.edge_index)

    def forward(self, x: Tensor, edge_index: Tensor) -> int:
        """Check x and the edges, and count the copies."""
        check_tensor(x, f"x of {self.layer}", self.edge_index)
        check_tensor(edge_index, f"edge_index of {self.layer}", x)
        joints, edges = self.skeleton.num_joints, self.edge_index.shape[1]
        rows = x.shape[-2] if x.dim() >= 2 else -1
        copies = rows // joints
        if rows % joints or rows < 0 or x.shape[-1] != self.in_channels:
            raise ValueError(
                f"{self.layer} over {self.skeleton.name}: expected x [*, {joints}, "
                f"{self.in_channels}] or [B * {joints}, {self.in_channels}], got {list(x.shape)}"
            )
        if tuple(edge_index.shape) != (2, copies * edges):
            raise ValueError(
                f"{self.layer} over {self.skeleton.name}: x {list(x.shape)} has {copies} x "
                f"{joints} joints, so expected edge_index [2, {copies} * {edges}], "
                f"got {list(edge_index.shape)}"
            )
        if not (torch.compiler.is_compiling() or edge_index.is_meta):
            self._check_values(edge_index, copies)
        return copies

    def _check_values(self, edge_index: Tensor, copies: int) -> None:
        expected = copies_of(self.edge_index, self.skeleton.num_joints, copies)
        if not same_edges(edge_index, expected):
            wanted, given = pairs(expected), pairs(edge_index)
            raise ValueError(
                f"{self.layer} over {self.skeleton.name}: the edges are not those of the "
                f"skeleton: expected {copies} x {self.edge_index.shape[1]}, of which only "
                f"{len(wanted & given)} are present (are the joints in another order?)"
            )

    def __repr__(self) -> str:
        """Return the skeleton."""
        return f"SkeletonEdges({self.skeleton.name})"


class SkeletonLayer(HasConstants):
    """A convolution over one skeleton, called with x and ``edge_index``."""

    bias: nn.Parameter | None

    def __init__(self, in_channels: int, out_channels: int, skeleton: Skeleton, **kwargs: Any):
        super().__init__(**kwargs)
        layer = type(self).__name__
        check_sizes(layer, in_channels=in_channels, out_channels=out_channels)
        self.edges = SkeletonEdges(layer, in_channels, skeleton)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.skeleton = skeleton

    def __repr__(self) -> str:
        """Return the sizes and skeleton."""
        sizes = f"{self.in_channels}, {self.out_channels}"
        return f"{type(self).__name__}({sizes}, {self.skeleton.name})"


def copies_of(edge_index: Tensor, num_joints: int, copies: int) -> Tensor:
    """Return the edges of disjoint copies of a skeleton, as in a ``Batch``."""
    first = torch.arange(copies, device=edge_index.device) * num_joints
    return (edge_index.unsqueeze(1) + first.unsqueeze(1)).flatten(1)


def same_edges(edge_index: Tensor, expected: Tensor) -> bool:
    """Return whether edges are the expected ones, which are sorted by target, in any order."""
    if edge_index.is_floating_point():
        raise TypeError(f"edge_index: expected integers, got {edge_index.dtype}")
    if torch.equal(edge_index, expected):
        return True
    return torch.equal(sort_edge_index(edge_index.long(), sort_by_row=False), expected)


def pairs(edge_index: Tensor) -> set[tuple[int, int]]:
    """Return the edges as pairs of nodes."""
    return set(zip(*edge_index.tolist(), strict=True))
