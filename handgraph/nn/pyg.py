"""Between PyG's ``Data`` and ``Batch`` and the dense layout ``[*, J, C]`` of the layers here."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from handgraph.skeleton import Skeleton


def to_dense(data: Data, skeleton: Skeleton, key: str = "x") -> Tensor:
    """Give a node attribute of a (batch of) skeleton graphs as ``[B, J, C]``.

    A batch of one fixed graph is a plain tensor: nothing has to be padded, and the check that the
    graphs are this skeleton is all there is to it.

    Args:
        data: One skeleton graph, or a batch of them.
        skeleton: The skeleton that each graph must be.
        key: The attribute.

    Returns:
        ``[B, J, C]``; B is 1 for a single ``Data``.

    Raises:
        ValueError: If the number of nodes or the edges are not those of the skeleton, or the
            attribute is no node attribute.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Batch
        >>> from handgraph import HAND
        >>> from handgraph.nn import to_dense
        >>> hands = [HAND.to_data(x=torch.rand(21, 2)) for _ in range(8)]
        >>> to_dense(Batch.from_data_list(hands), HAND).shape
        torch.Size([8, 21, 2])
    """
    graphs = data.num_graphs if isinstance(data, Batch) else 1
    x = data.get(key)
    joints = skeleton.num_joints
    nodes = graphs * joints
    if not isinstance(x, Tensor) or data.num_nodes != nodes or x.shape[:1] != (nodes,):
        came = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"to_dense: expected {graphs} graphs of {joints} joints ({skeleton.name}), got "
            f"{data.num_nodes} nodes and {key!r} {came}"
        )
    if data.edge_index is not None:
        _check_edges(data.edge_index, skeleton, graphs)
    return x.reshape(graphs, joints, *x.shape[1:])


def _check_edges(edge_index: Tensor, skeleton: Skeleton, graphs: int) -> None:
    expected = _disjoint(skeleton, graphs).to(edge_index.device)
    order = torch.argsort(edge_index[0] * graphs * skeleton.num_joints + edge_index[1])
    if edge_index.shape != expected.shape or not torch.equal(edge_index[:, order], expected):
        raise ValueError(
            f"to_dense: the edges are not those of {skeleton.name}: expected "
            f"{graphs} x {skeleton.edge_index.shape[1]}, got {edge_index.shape[1]}"
        )


def _disjoint(skeleton: Skeleton, graphs: int) -> Tensor:
    """The edges of disjoint copies of the skeleton, sorted."""
    first = torch.arange(graphs) * skeleton.num_joints
    return (skeleton.edge_index.unsqueeze(1) + first.unsqueeze(1)).flatten(1)


def from_dense(x: Tensor, skeleton: Skeleton) -> Batch:
    """Give ``[*, J, C]`` as a batch of skeleton graphs, for layers that want disjoint graphs.

    Args:
        x: Features of every joint.
        skeleton: The skeleton.

    Returns:
        A ``Batch`` with ``x`` ``[B * J, C]`` and the skeleton's edges in each graph.

    Raises:
        ValueError: If x does not have the joints of the skeleton, or there is no graph at all.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import from_dense
        >>> from_dense(torch.rand(8, 21, 2), HAND).num_graphs
        8
    """
    graphs = math.prod(x.shape[:-2])
    if x.dim() < 2 or x.shape[-2] != skeleton.num_joints or graphs == 0:
        raise ValueError(
            f"from_dense: expected [*, {skeleton.num_joints}, C] for {skeleton.name} and at least "
            f"one graph, got {list(x.shape)}"
        )
    hands = x.reshape(graphs, *x.shape[-2:])
    return Batch.from_data_list([skeleton.to_data(x=hand).to(x.device) for hand in hands])
