"""Base class of nets over the nodes of a skeleton or of removal sets."""

from __future__ import annotations

import torch
from torch import Tensor

from handgraph._check import check_last, check_shape
from handgraph.nn.constants import HasConstants
from handgraph.nn.made_for import MadeFor
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets


class BranchedNet(HasConstants, MadeFor):
    """A net over the nodes of a skeleton, or N nets over the nodes of N removal sets.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        graph: A skeleton, or removal sets.

    Raises:
        TypeError: If the graph is neither a skeleton nor removal sets.
    """

    node_mask: Tensor
    graph_attribute = "graph"

    def __init__(self, in_channels: int, out_channels: int, graph: Skeleton | RemovalSets):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.graph = graph
        node_mask = nodes_of(graph)
        self.register_constants(node_mask=node_mask)
        self.is_ragged = not bool(node_mask.all())

    @property
    def branched(self) -> tuple[bool, bool]:
        """Whether input and output have a branch axis."""
        return (isinstance(self.graph, RemovalSets),) * 2

    @property
    def graph_name(self) -> str:
        """Name of the graph in error messages."""
        return self.graph.name if isinstance(self.graph, Skeleton) else repr(self.graph)

    def enter(
        self, x: Tensor, node_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Check the input, add the branch axis, and zero hidden nodes and padding.

        Returns:
            The input ``[*, N, K, C]``, the gate ``[*, N, K]`` or ``None`` without a mask, and the
            visible nodes ``[*, N, K, 1]`` or ``None`` if all are visible.
        """
        branched = isinstance(self.graph, RemovalSets)
        self._check_input(x, node_mask, branched)
        gate = None if node_mask is None else node_mask.to(x.dtype)
        if not branched:
            x, gate = x.unsqueeze(-3), None if gate is None else gate.unsqueeze(-2)
        if gate is not None and self.is_ragged:
            gate = gate.where(self.node_mask, 0)
        visible = self.node_mask.unsqueeze(-1) if self.is_ragged else None
        if gate is not None:
            visible = gate.unsqueeze(-1) != 0
        return (x if visible is None else x.where(visible, 0)), gate, visible

    def leave(self, out: Tensor, visible: Tensor | None) -> Tensor:
        """Zero the output of hidden nodes and padding, and remove the branch axis."""
        out = out if visible is None else out.where(visible, 0)
        return out if isinstance(self.graph, RemovalSets) else out.squeeze(-3)

    def _check_input(self, x: Tensor, node_mask: Tensor | None, branched: bool) -> None:
        name, constant = type(self).__name__, self.node_mask if self.is_ragged else None
        sizes = (*self.node_mask.shape[0 if branched else 1 :], self.in_channels)
        check_last(x, f"the input of {name}", *sizes, like=constant, owner=self.graph)
        if node_mask is None:
            return
        check_shape(node_mask, f"node_mask of {name}", x.shape[:-1], x, self.graph)
        if node_mask.dtype != torch.bool and not node_mask.is_floating_point():
            raise TypeError(f"node_mask: expected Bool or floating, got {node_mask.dtype}")


def nodes_of(graph: Skeleton | RemovalSets) -> Tensor:
    """Return the nodes of each branch without padding, Bool ``[N, K]`` on the CPU."""
    if isinstance(graph, RemovalSets):
        return graph.node_mask.cpu()
    if isinstance(graph, Skeleton):
        return torch.ones(1, graph.num_joints, dtype=torch.bool, device="cpu")
    raise TypeError(f"graph: expected a Skeleton or RemovalSets, got {type(graph).__name__}")
