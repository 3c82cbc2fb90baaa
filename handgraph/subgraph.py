"""Removal sets: the joints that each branch removes, and the subgraphs that remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from handgraph._check import (
    check_bool,
    check_choice,
    check_count,
    check_last,
    check_skeleton,
)
from handgraph.skeleton import Skeleton, What
from handgraph.skeletons import FINGERS, LEVELS

MAX_SETS = 4096
"""Largest number of sets of :meth:`RemovalSets.none` and :meth:`RemovalSets.random`."""


class RemovalSets:
    r"""N sets of joints of one skeleton, where branch n keeps the joints that are not in set n.

    The paper (section 2) removes the TIPs, DIPs, PIPs or MCPs of every finger: N = 4 sets of
    m = 5 joints, so that a branch keeps :math:`K = J - m = 16`. Sets may differ in size: kept
    joints are padded with -1 to the longest branch, and :attr:`node_mask` is ``False`` there.
    All tensors are on the CPU, independent of the default device.

    Args:
        skeleton: The skeleton.
        sets: The joints that each set removes: the name of a group or joint, or several
            (:meth:`handgraph.Skeleton.select`). An empty list removes nothing.

    Raises:
        ValueError: If there is no set, a name is unknown, a set keeps no joint, or a joint is kept
            by no set.

    Example:
        >>> from handgraph import HAND, RemovalSets
        >>> removal = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"]})
        >>> len(removal), removal.kept.shape, removal.num_kept.tolist()
        (2, torch.Size([2, 16]), [16, 15])
    """

    def __init__(self, skeleton: Skeleton, sets: Mapping[str, What]) -> None:
        check_skeleton(skeleton, "RemovalSets")
        if not isinstance(sets, Mapping):
            raise TypeError(
                f"RemovalSets: expected sets by name, such as {{'tips': 'TIP'}}, "
                f"got {type(sets).__name__}"
            )
        self.skeleton = skeleton
        self.names = tuple(sets)
        """The names of the sets."""
        size = (len(sets), skeleton.num_joints)
        self.keep_mask = torch.ones(size, dtype=torch.bool, device="cpu")
        """Whether set n keeps joint j. Bool ``[N, J]``."""
        for mask, what in zip(self.keep_mask, sets.values(), strict=True):
            mask[skeleton.select(what)] = False
        self._check()
        self.num_kept = self.keep_mask.sum(dim=1)
        """Number of joints that each branch keeps. Long ``[N]``."""
        self.num_nodes = int(self.num_kept.max())
        """K, the number of nodes of a branch after padding."""
        self.node_mask = torch.arange(self.num_nodes, device="cpu") < self.num_kept.unsqueeze(1)
        """Whether node k of branch n is a joint and not padding. Bool ``[N, K]``."""
        order = torch.argsort((~self.keep_mask).to(torch.uint8), dim=1, stable=True)
        self.kept = order[:, : self.num_nodes].where(self.node_mask, -1)
        """The joints that each branch keeps, sorted, padded with -1. Long ``[N, K]``."""
        self.position = (self.keep_mask.cumsum(dim=1) - 1).where(self.keep_mask, -1)
        """Index of joint j in branch n, -1 if that branch removes it. Long ``[N, J]``."""

    def _check(self) -> None:
        if not self.names:
            raise ValueError(f"{self.skeleton.name}: expected at least one removal set, got none")
        for name, mask in zip(self.names, self.keep_mask, strict=True):
            if not mask.any():
                raise ValueError(
                    f"removal set {name!r} keeps none of the {self.skeleton.num_joints} joints "
                    f"of {self.skeleton.name}"
                )
        lost = (~self.keep_mask.any(dim=0)).nonzero().flatten().tolist()
        if lost:
            joints = ", ".join(self.skeleton.joints[i] for i in lost)
            raise ValueError(
                f"every one of the {len(self)} removal sets of {self.skeleton.name} removes "
                f"{joints}: no branch is left to estimate them"
            )

    @classmethod
    def by_level(cls, skeleton: Skeleton) -> RemovalSets:
        """Build the paper's sets: all TIPs, all DIPs, all PIPs, all MCPs (section 2).

        Example:
            >>> from handgraph import HAND, RemovalSets
            >>> RemovalSets.by_level(HAND)
            RemovalSets(HAND, TIP: -5, DIP: -5, PIP: -5, MCP: -5)
        """
        return cls(skeleton, {level: _group(skeleton, level) for level in LEVELS})

    @classmethod
    def by_finger(cls, skeleton: Skeleton) -> RemovalSets:
        """Build one set per finger.

        Example:
            >>> from handgraph import HAND, RemovalSets
            >>> RemovalSets.by_finger(HAND)
            RemovalSets(HAND, thumb: -4, index: -4, middle: -4, ring: -4, pinky: -4)
        """
        return cls(skeleton, {finger: _group(skeleton, finger) for finger in FINGERS})

    @classmethod
    def by_groups(cls, skeleton: Skeleton, groups: Sequence[str] | None = None) -> RemovalSets:
        """Build one set for each group of the skeleton.

        Args:
            skeleton: The skeleton.
            groups: The names of the groups; by default all of them.

        Raises:
            ValueError: If the skeleton lacks a group, or has none.

        Example:
            >>> from handgraph import COCO, RemovalSets
            >>> RemovalSets.by_groups(COCO, ["left_arm", "right_arm"])
            RemovalSets(COCO, left_arm: -3, right_arm: -3)
        """
        names = tuple(skeleton.groups) if groups is None else groups
        return cls(skeleton, {name: _group(skeleton, name) for name in names})

    @classmethod
    def none(cls, skeleton: Skeleton, num_sets: int) -> RemovalSets:
        """Build ``num_sets`` empty sets: the control, a plain ensemble of full graphs.

        Example:
            >>> from handgraph import HAND, RemovalSets
            >>> RemovalSets.none(HAND, 2)
            RemovalSets(HAND, full_0: -0, full_1: -0)
        """
        check_count(num_sets, "num_sets", 1, MAX_SETS)
        return cls(skeleton, {f"full_{n}": () for n in range(num_sets)})

    @classmethod
    def random(
        cls,
        skeleton: Skeleton,
        num_sets: int,
        size: int,
        generator: torch.Generator | None = None,
        *,
        among: What | None = None,
    ) -> RemovalSets:
        """Draw ``num_sets`` sets of ``size`` joints uniformly, so that some set keeps each joint.

        Args:
            skeleton: The skeleton.
            num_sets: Number of sets.
            size: Number of joints that each set removes.
            generator: Random number generator.
            among: The joints that may be removed; by default all but the root.

        Raises:
            ValueError: If ``among`` is too small, or no draw of 1000 keeps each joint in some set.

        Example:
            >>> import torch
            >>> from handgraph import HAND, RemovalSets
            >>> RemovalSets.random(HAND, 2, 5, torch.Generator().manual_seed(0))
            RemovalSets(HAND, random_0: -5, random_1: -5)
        """
        everything = [joint for joint in skeleton.joints if joint != skeleton.root]
        pool = skeleton.select(everything if among is None else among)
        check_count(num_sets, "num_sets", 1, MAX_SETS)
        check_count(size, "size", 0)
        if size > len(pool):
            raise ValueError(
                f"{skeleton.name}: cannot draw {num_sets} sets of {size} joints from "
                f"{len(pool)} candidates"
            )
        device = "cpu" if generator is None else generator.device
        for _ in range(1000):
            keep = torch.ones(num_sets, skeleton.num_joints, dtype=torch.bool, device="cpu")
            for mask in keep:
                order = torch.randperm(len(pool), generator=generator, device=device)
                drawn = order[:size].tolist()
                mask[[pool[i] for i in drawn]] = False
            if keep.any(dim=0).all():
                return cls.from_keep_masks(skeleton, keep, [f"random_{n}" for n in range(num_sets)])
        raise ValueError(
            f"{skeleton.name}: in each of 1000 draws, all {num_sets} sets of {size} joints remove "
            "some joint: use more or smaller sets"
        )

    @classmethod
    def from_keep_masks(
        cls, skeleton: Skeleton, masks: Tensor, names: Sequence[str] | None = None
    ) -> RemovalSets:
        """Build the sets from masks of the joints that they keep.

        Args:
            skeleton: The skeleton.
            masks: Bool ``[N, J]``.
            names: N names; by default ``set_0``, ``set_1``, ...

        Example:
            >>> import torch
            >>> from handgraph import RemovalSets, Skeleton
            >>> keep = torch.tensor([[True, True, False], [False, True, True]])
            >>> RemovalSets.from_keep_masks(Skeleton.edgeless(3), keep)
            RemovalSets(edgeless(3), set_0: -1, set_1: -1)
        """
        check_bool(masks, "masks")
        if masks.dim() != 2 or masks.shape[1] != skeleton.num_joints:
            raise ValueError(
                f"masks: expected [N, {skeleton.num_joints}] for {skeleton.name}, "
                f"got {list(masks.shape)}"
            )
        names = [f"set_{n}" for n in range(len(masks))] if names is None else list(names)
        if len(names) != len(masks) or len(set(names)) != len(names):
            raise ValueError(f"expected {len(masks)} different names, got {names}")
        joints = [
            [skeleton.joints[i] for i in (~mask).nonzero().flatten().tolist()] for mask in masks
        ]
        return cls(skeleton, dict(zip(names, joints, strict=True)))

    def __len__(self) -> int:
        """Return N, the number of sets."""
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        """Compare skeletons, names and masks."""
        if not isinstance(other, RemovalSets):
            return NotImplemented
        same = self.skeleton == other.skeleton and self.names == other.names
        return same and torch.equal(self.keep_mask, other.keep_mask)

    def __hash__(self) -> int:
        """Hash skeleton and names."""
        return hash((self.skeleton, self.names))

    def __repr__(self) -> str:
        """Return the skeleton's name, and the number of joints that each set removes."""
        lost = (~self.keep_mask).sum(dim=1).tolist()
        sets = ", ".join(f"{n}: -{m}" for n, m in zip(self.names, lost, strict=True))
        return f"RemovalSets({self.skeleton.name}, {sets})"

    def hypotheses(self) -> tuple[Tensor, Tensor]:
        """List the hypotheses of all joints, sorted by joint, then by branch.

        Returns:
            Long ``index [H]``, the position of each of the H hypotheses in the flattened
            ``[N * K]`` nodes, and Long ``ptr [J + 1]``. Joint j has the hypotheses
            ``index[ptr[j]:ptr[j + 1]]``, as in PyG's ``segment`` and ``softmax(ptr=...)``.

        Example:
            >>> from handgraph import HAND, RemovalSets
            >>> index, ptr = RemovalSets.by_level(HAND).hypotheses()
            >>> len(index), ptr[:3].tolist()  # 20 joints x 3 branches, and the wrist in all 4
            (64, [0, 4, 7])
        """
        joint, branch = self.keep_mask.t().nonzero(as_tuple=True)
        index = branch * self.num_nodes + self.position[branch, joint]
        ptr = pad(self.keep_mask.sum(dim=0).cumsum(dim=0), (1, 0))
        return index, ptr

    def subgraph(
        self, which: int | str, edges: Literal["bridged", "induced"] = "bridged"
    ) -> Skeleton:
        """Return the skeleton of one branch.

        Args:
            which: Name or index of the set.
            edges: ``"bridged"`` also links two kept joints if a path between them visits only
                removed joints, so that removing the PIPs links MCPs to DIPs (decision 12).
                ``"induced"`` keeps only the edges between kept joints.

        Returns:
            A skeleton over the kept joints; its ``keep`` holds their indices in the full one.

        Raises:
            ValueError: If ``which`` or ``edges`` is unknown.

        Example:
            >>> from handgraph import HAND, RemovalSets
            >>> removal = RemovalSets.by_level(HAND)
            >>> len(removal.subgraph("PIP").edges), len(removal.subgraph("PIP", "induced").edges)
            (15, 10)
        """
        check_choice(edges, "edges", "bridged", "induced")
        known = which in self.names or which in range(-len(self), len(self))
        if isinstance(which, bool) or not known:
            raise ValueError(f"expected one of the sets {', '.join(self.names)}, got {which!r}")
        which = self.names.index(which) if isinstance(which, str) else which
        keep = self.keep_mask[which]
        with torch.device("cpu"):  # independent of the default device
            linked = _bridge(self.skeleton, keep) if edges == "bridged" else self.skeleton.edges
        return _restrict(self.skeleton, f"{self.skeleton.name} - {self.names[which]}", keep, linked)


def check_removal(value: object, name: str) -> None:
    """Raise unless ``value`` is a :class:`RemovalSets`."""
    if not isinstance(value, RemovalSets):
        raise TypeError(
            f"{name}: expected RemovalSets, such as RemovalSets.by_level(HAND), "
            f"got {type(value).__name__}"
        )


def check_branches(x: Tensor, name: str, removal: RemovalSets, like: Tensor | None = None) -> None:
    """Raise unless ``x`` is ``[*, N, K, C]`` for the removal sets, on the device of ``like``."""
    check_last(x, name, len(removal), removal.num_nodes, "C", like=like, owner=removal)


def _group(skeleton: Skeleton, name: str) -> Sequence[str]:
    if name not in skeleton.groups:
        raise ValueError(
            f"{skeleton.name} has no group {name!r}; it has {', '.join(skeleton.groups) or 'none'}"
        )
    return skeleton.groups[name]


def _bridge(skeleton: Skeleton, keep: Tensor) -> list[tuple[str, str]]:
    """Return all edges, and those between all kept neighbours of each removed region."""
    if keep.all():
        return list(skeleton.edges)
    adjacency = skeleton.adjacency()
    removed = _restrict(skeleton, "removed joints", ~keep, skeleton.edges)
    same_region = removed.hops().isfinite().to(adjacency.dtype)
    around = ((same_region @ adjacency[~keep]) > 0).to(adjacency.dtype)
    linked = adjacency + around.t() @ around > 0
    pairs = combinations(range(skeleton.num_joints), 2)
    return [(skeleton.joints[u], skeleton.joints[v]) for u, v in pairs if linked[u, v]]


def _restrict(
    skeleton: Skeleton, name: str, keep: Tensor, edges: Sequence[tuple[str, str]]
) -> Skeleton:
    """Return the skeleton over the kept joints, with the edges and groups among them."""
    kept = keep.nonzero().flatten().tolist()
    joints = [skeleton.joints[i] for i in kept]
    groups = {g: [j for j in names if j in joints] for g, names in skeleton.groups.items()}
    return Skeleton(
        name,
        joints,
        [(u, v) for u, v in edges if u in joints and v in joints],
        groups={g: names for g, names in groups.items() if names},
        aliases={alias: joint for alias, joint in skeleton.aliases.items() if joint in joints},
        root=skeleton.root if skeleton.root in joints else None,
        keep=tuple(kept),
    )
