"""Coarse skeletons: clusters of neighbouring joints, and the edges between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field

import torch
from torch import Tensor

from handgraph._check import check_count, check_skeleton
from handgraph.skeleton import Skeleton, What


@dataclass(frozen=True)
class Coarsening:
    """Clusters of the joints of a skeleton, and the coarse skeleton over these clusters.

    Graph U-Nets over a fixed skeleton pool along it (:class:`handgraph.nn.SkeletalPool`). Two
    clusters are linked if any of their joints are. :func:`coarsen` computes clusters.

    Args:
        fine: The skeleton.
        clusters: The joints of each cluster, by its name: the name of a group or joint, or
            several (:meth:`handgraph.Skeleton.select`).
        connected: Whether each cluster must be connected. Only :meth:`restrict` passes ``False``.

    Raises:
        ValueError: If a name is unknown, a joint is in two clusters or in none, or a cluster is
            empty or not connected.

    Example:
        >>> from handgraph import HAND, Coarsening
        >>> fingers = {f: f for f in ("thumb", "index", "middle", "ring", "pinky")}
        >>> hand = Coarsening(HAND, {"palm": "wrist"} | {f"the {f}": f for f in fingers})
        >>> hand.coarse.joints[:3], len(hand.coarse.edges)
        (('palm', 'the thumb', 'the index'), 5)
        >>> hand.cluster[:6].tolist()
        [0, 1, 1, 1, 1, 2]
    """

    fine: Skeleton
    clusters: Mapping[str, What] = field(hash=False)
    _: KW_ONLY
    connected: InitVar[bool] = True
    coarse: Skeleton = field(init=False, repr=False)
    """The skeleton over the clusters, in their order. Its root is the cluster of the fine root."""

    def __post_init__(self, connected: bool) -> None:
        """Replace groups by their joints, check the clusters, and link them."""
        named = {
            name: tuple(self.fine.joints[i] for i in self.fine.select(what))
            for name, what in self.clusters.items()
        }
        home = _homes(self.fine, named)
        if connected:
            _check_connected(self.fine, named)
        links = {(home[u], home[v]) for u, v in self.fine.edges if home[u] != home[v]}
        order = {name: i for i, name in enumerate(named)}
        edges = {(u, v) if order[u] < order[v] else (v, u) for u, v in links}
        coarse = Skeleton(
            f"{self.fine.name}/{len(named)}",
            tuple(named),
            sorted(edges, key=lambda edge: (order[edge[0]], order[edge[1]])),
            root=None if self.fine.root is None else home[self.fine.root],
        )
        object.__setattr__(self, "clusters", named)
        object.__setattr__(self, "coarse", coarse)

    @property
    def cluster(self) -> Tensor:
        """Index of each joint's cluster in the coarse skeleton. Long ``[J]``."""
        home = _homes(self.fine, self.clusters)
        return torch.tensor([self.coarse.index(home[joint]) for joint in self.fine.joints])

    def restrict(self, skeleton: Skeleton) -> Coarsening:
        """Return the same clusters without the joints that ``skeleton`` lacks.

        Joints are matched by name, so ``skeleton`` may have its joints in another order, or be
        the result of :meth:`handgraph.RemovalSets.subgraph`. Clusters that lose all joints are
        dropped. The coarse edges follow from the edges of ``skeleton``. With bridged edges every
        cluster stays connected. With induced edges a cluster may become disconnected, and is
        still one cluster.

        Raises:
            ValueError: If the skeleton has a joint that no cluster contains.

        Example:
            >>> from handgraph import HAND, RemovalSets, coarsen
            >>> pairs = coarsen(HAND)[0]
            >>> pairs.clusters["index_dip"]
            ('index_dip', 'index_tip')
            >>> tips_lost = RemovalSets.by_level(HAND).subgraph("TIP")
            >>> pairs.restrict(tips_lost).clusters["index_dip"]
            ('index_dip',)
        """
        unknown = [joint for joint in skeleton.joints if joint not in self.fine.joints]
        if unknown:
            raise ValueError(
                f"{skeleton.name}: expected joints of {self.fine.name}, whose joints are "
                f"clustered, got {', '.join(unknown)}"
            )
        left = {
            name: [joint for joint in joints if joint in skeleton.joints]
            for name, joints in self.clusters.items()
        }
        kept = {name: joints for name, joints in left.items() if joints}
        return Coarsening(skeleton, kept, connected=False)


def coarsen(skeleton: Skeleton, max_levels: int | None = None) -> tuple[Coarsening, ...]:
    """Pair neighbouring joints, then neighbouring pairs, and so on: the ladder of a graph U-Net.

    Each level is a maximal matching along the bones. It pairs the joint with the fewest unpaired
    neighbours with the neighbour that has the fewest itself (Karp and Sipser, 1981). On a forest no
    matching is larger. A joint without a partner is a cluster of its own. Pairs are named after
    their inner joint. Ties are broken by name, so the order of the joints has no influence.

    A matching cannot halve a star. By default the ladder ends before a level that keeps more than
    three quarters of its joints. The first level is always kept, even if it pairs no joints, as in
    :func:`handgraph.nn.halving_ladder`.

    Args:
        skeleton: The skeleton.
        max_levels: Largest number of levels. If it is given, the ladder ends earlier only where no
            joints can be paired.

    Returns:
        One :class:`Coarsening` per level; each clusters the coarse skeleton of the previous level.

    Raises:
        ValueError: If ``max_levels`` is not positive.

    Example:
        >>> from handgraph import HAND, coarsen
        >>> [level.coarse.num_joints for level in coarsen(HAND)]
        [11, 6]
        >>> coarsen(HAND)[1].clusters["ring_mcp"]  # the whole finger, as two pairs
        ('ring_mcp', 'ring_dip')
    """
    check_skeleton(skeleton, "coarsen")
    if max_levels is not None:
        check_count(max_levels, "max_levels", 1)
    largest_share = 0.75 if max_levels is None else 1.0
    ladder = [_pair(skeleton)]
    while max_levels is None or len(ladder) < max_levels:
        level = _pair(ladder[-1].coarse)
        before, after = level.fine.num_joints, level.coarse.num_joints
        if after == before or after > largest_share * before:
            break
        ladder.append(level)
    return tuple(ladder)


def restrict_ladder(ladder: Sequence[Coarsening], skeleton: Skeleton) -> tuple[Coarsening, ...]:
    """Restrict every level of a ladder to the joints of a skeleton.

    Args:
        ladder: The levels, finest first (:func:`coarsen`).
        skeleton: All or some joints of the first level (:meth:`Coarsening.restrict`).

    Raises:
        ValueError: If the ladder is empty, or a level lacks a cluster of the previous level.

    Example:
        >>> from handgraph import HAND, RemovalSets, coarsen
        >>> from handgraph.coarsening import restrict_ladder
        >>> no_thumb = RemovalSets.by_finger(HAND).subgraph("thumb")
        >>> [level.coarse.num_joints for level in restrict_ladder(coarsen(HAND), no_thumb)]
        [9, 5]
    """
    if not ladder:
        raise ValueError(f"{skeleton.name}: expected a ladder of at least one level, got none")
    restricted = []
    for level in ladder:
        restricted.append(level.restrict(skeleton))
        skeleton = restricted[-1].coarse
    return tuple(restricted)


def _pair(skeleton: Skeleton) -> Coarsening:
    """Compute one level of :func:`coarsen`."""
    free = _neighbours(skeleton)
    clusters = {joint: [joint] for joint in skeleton.joints}

    def outermost(joint: str) -> tuple[int, bool, str]:
        return len(free[joint]), joint == skeleton.root, joint

    while any(free.values()):
        outer = min((joint for joint in free if free[joint]), key=outermost)
        inner = min(free[outer], key=outermost)
        clusters[inner] += clusters.pop(outer)
        for joint in (outer, inner):
            for neighbour in free.pop(joint):
                free.get(neighbour, set()).discard(joint)
    return Coarsening(skeleton, clusters)


def _neighbours(skeleton: Skeleton) -> dict[str, set[str]]:
    neighbours: dict[str, set[str]] = {joint: set() for joint in skeleton.joints}
    for u, v in skeleton.edges:
        neighbours[u].add(v)
        neighbours[v].add(u)
    return neighbours


def _homes(skeleton: Skeleton, clusters: Mapping[str, What]) -> dict[str, str]:
    """Return the cluster of every joint, and raise unless each joint is in exactly one."""
    home: dict[str, str] = {}
    for name, joints in clusters.items():
        if not joints:
            raise ValueError(f"{skeleton.name}: cluster {name!r} is empty")
        for joint in joints:
            if joint in home:
                raise ValueError(
                    f"{skeleton.name}: {joint} is in two clusters, {home[joint]!r} and {name!r}"
                )
            home[joint] = name
    left = [joint for joint in skeleton.joints if joint not in home]
    if left:
        raise ValueError(f"{skeleton.name}: no cluster contains {', '.join(left)}")
    return home


def _check_connected(skeleton: Skeleton, clusters: Mapping[str, Sequence[str]]) -> None:
    neighbours = _neighbours(skeleton)
    for name, joints in clusters.items():
        reached, border = {joints[0]}, [joints[0]]
        while border:
            near = neighbours[border.pop()].intersection(joints) - reached
            reached |= near
            border += near
        apart = [joint for joint in joints if joint not in reached]
        if apart:
            raise ValueError(
                f"{skeleton.name}: cluster {name!r} is not connected: it contains no path from "
                f"{joints[0]} to {', '.join(apart)}"
            )
