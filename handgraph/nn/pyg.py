"""Conversion between PyG's ``Data`` or ``Batch`` and the dense layout ``[*, J, C]``."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from handgraph import skeletons
from handgraph._check import check_joints, check_skeleton
from handgraph.nn.skeleton_edges import copies_of, pairs, same_edges
from handgraph.skeleton import Skeleton


def to_dense(data: Data, skeleton: Skeleton, key: str = "x") -> Tensor:
    """Convert a node attribute of skeleton graphs to a tensor ``[B, J, C]``.

    All graphs must be the given skeleton. They have the same number of nodes, so the attribute is
    reshaped without padding.

    Args:
        data: One skeleton graph, or a batch of them.
        skeleton: The skeleton that each graph must be.
        key: Name of the attribute.

    Returns:
        ``[B, J, C]``; B is 1 for a single ``Data``.

    Raises:
        ValueError: If the number of nodes or the edges are not those of the skeleton, or the
            attribute is not a node attribute.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Batch
        >>> from handgraph import HAND
        >>> from handgraph.nn import to_dense
        >>> hands = [HAND.to_data(x=torch.rand(21, 2)) for _ in range(8)]
        >>> to_dense(Batch.from_data_list(hands), HAND).shape
        torch.Size([8, 21, 2])
    """
    check_skeleton(skeleton, "to_dense")
    if not isinstance(data, Data):
        raise TypeError(f"to_dense: expected a Data or a Batch, got {type(data).__name__}")
    graphs = data.num_graphs if isinstance(data, Batch) else 1
    x = data.get(key)
    if isinstance(x, Tensor) and x.dim() > 2 and x.shape[0] == graphs:  # from a DenseDataLoader
        raise ValueError(f"to_dense: {key!r} {list(x.shape)} is already dense: use data.{key}")
    joints = skeleton.num_joints
    nodes = graphs * joints
    if not isinstance(x, Tensor) or data.num_nodes != nodes or x.shape[:1] != (nodes,):
        found = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"to_dense: expected {graphs} graphs of {joints} joints ({skeleton.name}), got "
            f"{data.num_nodes} nodes and {key!r} {found}"
        )
    edge_index = _edges(data)
    if edge_index is not None and not _has_edges(edge_index, skeleton, graphs):
        raise _wrong_edges(edge_index, skeleton, graphs)
    return x.reshape(graphs, joints, *x.shape[1:])


def _edges(data: Data) -> Tensor | None:
    """Return the edges, sources first, from ``edge_index`` or ``adj_t``."""
    adj_t, edge_index = data.get("adj_t"), data.get("edge_index")
    if adj_t is None:
        return None if edge_index is None else torch.as_tensor(edge_index)
    if isinstance(adj_t, Tensor):
        indices: Tensor = adj_t.to_sparse_coo().coalesce().indices()
        return indices.flip(0)
    target, source, _ = adj_t.coo()  # a SparseTensor of torch-sparse
    return torch.stack([source, target])


def _has_edges(edge_index: Tensor, skeleton: Skeleton, graphs: int) -> bool:
    return same_edges(edge_index, _expected(skeleton, graphs).to(edge_index.device))


def _expected(skeleton: Skeleton, graphs: int) -> Tensor:
    return copies_of(skeleton.edge_index, skeleton.num_joints, graphs)


def _wrong_edges(edge_index: Tensor, skeleton: Skeleton, graphs: int) -> ValueError:
    expected, found = pairs(_expected(skeleton, graphs)), pairs(edge_index)
    missing, unexpected = (_names(e, skeleton) for e in (expected - found, found - expected))
    return ValueError(
        f"to_dense: the edges are not those of {skeleton.name}: expected {graphs} x "
        f"{skeleton.edge_index.shape[1]}, got {edge_index.shape[1]}; missing: {missing}, "
        f"unexpected: {unexpected}.{_suggestion(edge_index, skeleton, graphs)}"
    )


def _suggestion(edge_index: Tensor, skeleton: Skeleton, graphs: int) -> str:
    """Suggest a call that reorders the joints to the order of the skeleton."""
    for other in skeletons.ALL:
        same_joints = set(other.joints) == set(skeleton.joints)
        if same_joints and _has_edges(edge_index, other, graphs):
            order = f"{skeleton.name}.index_from({other.name})"
            return f" They are those of {other.name}: to_dense(data, {other.name})[:, {order}]"
    name = skeleton.name
    return (
        f" If names lists your joints in order: mine = {name}.reorder('mine', names); "
        f"to_dense(data, mine)[:, {name}.index_from(mine)]"
    )


def _names(edges: set[tuple[int, int]], skeleton: Skeleton) -> str:
    """Name the joints of the first three edges, and count the others."""
    count, joints = skeleton.num_joints, skeleton.joints
    names = [f"{joints[u % count]} -> {joints[v % count]}" for u, v in sorted(edges)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "") or "none"


def from_dense(x: Tensor, skeleton: Skeleton) -> Batch:
    """Convert ``[*, J, C]`` to a batch of skeleton graphs, for layers that need disjoint graphs.

    Args:
        x: Features of every joint.
        skeleton: The skeleton.

    Returns:
        A ``Batch`` with ``x`` ``[B * J, C]`` and the skeleton's edges in each graph.

    Raises:
        ValueError: If x does not have the joints of the skeleton, or has no samples.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import from_dense
        >>> from_dense(torch.rand(8, 21, 2), HAND).num_graphs
        8
    """
    check_skeleton(skeleton, "from_dense")
    check_joints(x, "x of from_dense", skeleton)
    graphs = math.prod(x.shape[:-2])
    if graphs == 0:
        raise ValueError(f"x of from_dense: expected at least one graph, got {list(x.shape)}")
    hands = x.reshape(graphs, *x.shape[-2:])
    return Batch.from_data_list([skeleton.to_data(x=hand).to(x.device) for hand in hands])
