"""The node counts of the levels of a graph U-Net."""

from __future__ import annotations

from collections.abc import Sequence

from handgraph._check import check_count, check_whole


def halving_ladder(num_nodes: int) -> tuple[int, ...]:
    """Return the node counts of a graph U-Net: halved, rounded up, until 1 (decision 10).

    Example:
        >>> from handgraph.nn import halving_ladder
        >>> halving_ladder(21)
        (21, 11, 6, 3, 2, 1)
    """
    check_count(num_nodes, "num_nodes", 1)
    nodes = [num_nodes]
    while nodes[-1] > 1 or len(nodes) < 2:
        nodes.append((nodes[-1] + 1) // 2)
    return tuple(nodes)


def check_ladder(nodes: Sequence[int] | None, name: str, num_nodes: int) -> tuple[int, ...]:
    """Return the given node counts, by default halving ones, and raise if they do not fit."""
    ladder = halving_ladder(num_nodes) if nodes is None else tuple(nodes)
    for size in ladder:
        check_whole(nodes=size)
    if len(ladder) < 2 or min(ladder) < 1 or ladder[0] != num_nodes:
        raise ValueError(
            f"nodes: expected two or more positive node counts, the first {num_nodes} as in "
            f"{name}, got {ladder}"
        )
    return ladder
