"""Checks of skeleton convolutions: each graph must be their skeleton."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_skeleton, check_tensor
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
        TypeError: If ``skeleton`` is not a skeleton.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import SkeletonEdges
        >>> SkeletonEdges("layer", 2, HAND)(torch.rand(8, 21, 2), HAND.edge_index)
        1
    """

    place: Tensor
    graph_attribute = "skeleton"

    def __init__(self, layer: str, in_channels: int, skeleton: Skeleton):
        super().__init__()
        check_skeleton(skeleton, layer)
        self.layer = layer
        self.in_channels = in_channels
        self.skeleton = skeleton
        source, target = skeleton.edge_index
        self.num_edges = len(source)
        place = torch.full((skeleton.num_joints, skeleton.num_joints), -1)
        place[target, source] = torch.arange(self.num_edges)
        self.register_constants(place=place)

    def forward(self, x: Tensor, edge_index: Tensor) -> int:
        """Check x and the edges, and count the copies."""
        check_tensor(x, f"x of {self.layer}", self.place)
        check_tensor(edge_index, f"edge_index of {self.layer}", x)
        joints, edges = self.skeleton.num_joints, self.num_edges
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
        """Raise unless each edge of each copy is present; their number rules out duplicates."""
        joints, total = self.skeleton.num_joints, copies * self.num_edges
        copy = edge_index // joints
        source, target = edge_index % joints
        place = self.place[target, source]
        known = (place >= 0) & (copy[0] == copy[1]) & (copy[1] >= 0) & (copy[1] < copies)
        found = place.new_zeros(total + 1)
        found[(copy[1] * self.num_edges + place).where(known, total)] = 1
        if not found[:total].all():
            raise ValueError(
                f"{self.layer} over {self.skeleton.name}: the edges are not those of the "
                f"skeleton: expected {copies} x {self.num_edges}, of which only "
                f"{int(found[:total].sum())} are present (are the joints in another order?)"
            )

    def __repr__(self) -> str:
        """Return the skeleton."""
        return f"SkeletonEdges({self.skeleton.name})"
