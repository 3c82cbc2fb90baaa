"""A skeleton: named joints, the bones between them, and named groups of joints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

if TYPE_CHECKING:
    import networkx

What = str | Iterable[str]
"""A selection of joints: the name of a joint or of a group, or several of them."""

MAX_JOINTS = 2**20
"""Largest number of joints of :meth:`Skeleton.edgeless`."""


@dataclass(frozen=True)
class Skeleton:
    """A named, undirected graph over named joints.

    Only a skeleton assigns numbers to joints. The graph may be a tree (a hand), or have cycles
    (COCO's body), several components (two hands) or no edges. :attr:`parents` and :attr:`bones`
    need a tree. Skeletons are immutable and hashable. They are equal if all their fields are.
    Indices of joints are on the CPU, independent of the default device.

    Args:
        name: Name in error messages.
        joints: Names of the joints, in the order of the joint dimension of tensors.
        edges: Pairs of joint names. Each edge once, in either direction.
        groups: Named groups of joints, such as ``{"TIP": ["thumb_tip", ...]}``.
        aliases: Alternative joint names that :meth:`index` and :meth:`select` accept.
        root: The root joint (the wrist, the pelvis), or ``None``.
        keep: Index of each joint in the skeleton of which this one is a subgraph, or ``None``.
            :meth:`handgraph.RemovalSets.subgraph` sets it.

    Raises:
        ValueError: If a name is used twice, an edge or a group names an unknown joint, an edge is
            a self-loop or given twice, or a group has a joint's name.

    Example:
        >>> from handgraph import Skeleton
        >>> arm = Skeleton("arm", ["shoulder", "elbow", "wrist"],
        ...                [("shoulder", "elbow"), ("elbow", "wrist")], root="shoulder")
        >>> arm.num_joints, arm.index("wrist")
        (3, 2)
        >>> arm.edge_index.tolist()
        [[1, 0, 2, 1], [0, 1, 1, 2]]
    """

    name: str
    joints: Sequence[str]
    edges: Sequence[tuple[str, str]]
    _: KW_ONLY
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False, repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    root: str | None = None
    keep: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Convert the containers to immutable ones, then check all names."""
        freeze = object.__setattr__
        freeze(self, "joints", tuple(self.joints))
        freeze(self, "edges", tuple((u, v) for u, v in self.edges))
        freeze(self, "groups", {name: tuple(group) for name, group in self.groups.items()})
        freeze(self, "aliases", dict(self.aliases))
        self._check_names()
        self._check_edges()

    def __repr__(self) -> str:
        """Return the name, or ``Skeleton('two hands')`` if it is not a Python identifier."""
        return self.name if self.name.isidentifier() else f"Skeleton({self.name!r})"

    def _check_names(self) -> None:
        if not self.joints:
            raise ValueError(f"{self.name}: a skeleton needs at least one joint, got none")
        seen: set[str] = set()
        for name in (*self.joints, *self.groups, *self.aliases):
            if name in seen:
                raise ValueError(f"{self.name}: the name {name!r} is used twice")
            seen.add(name)
        for what, names in (*self.groups.items(), ("aliases", self.aliases.values())):
            for joint in names:
                if joint not in self.joints:
                    raise ValueError(f"{self.name}: {what} names {joint!r}, which is not a joint")
        if self.root is not None and self.root not in self.joints:
            raise ValueError(f"{self.name}: the root {self.root!r} is not a joint")

    def _check_edges(self) -> None:
        seen: set[frozenset[str]] = set()
        for edge in self.edges:
            for joint in edge:
                if joint not in self.joints:
                    raise ValueError(f"{self.name}: edge {edge}: {joint!r} is not a joint")
            if edge[0] == edge[1]:
                raise ValueError(f"{self.name}: edge {edge} is a self-loop")
            if frozenset(edge) in seen:
                raise ValueError(f"{self.name}: edge {edge} is given twice")
            seen.add(frozenset(edge))

    @classmethod
    def from_parents(cls, name: str, parents: Mapping[str, str | None], **kwargs: Any) -> Skeleton:
        """Build a tree (or forest) from each joint's parent; ``None`` marks a root.

        Args:
            name: Name in error messages.
            parents: Each joint's parent, in the order of the joints.
            kwargs: ``groups``, ``aliases``, ``root``. A single joint without a parent is the
                default for ``root``.

        Raises:
            ValueError: If a parent is not a joint, or a joint is its own ancestor.

        Example:
            >>> from handgraph import Skeleton
            >>> Skeleton.from_parents("finger", {"mcp": None, "pip": "mcp", "tip": "pip"}).parents
            (-1, 0, 1)
        """
        roots = [joint for joint, parent in parents.items() if parent is None]
        if len(roots) == 1:
            kwargs.setdefault("root", roots[0])
        edges = [(parent, joint) for joint, parent in parents.items() if parent is not None]
        for joint in parents:
            _check_ancestors(name, parents, joint)
        return cls(name, tuple(parents), tuple(edges), **kwargs)

    @classmethod
    def edgeless(cls, num_joints: int) -> Skeleton:
        """Build a skeleton of numbered joints without edges, for layers that learn the graph.

        Example:
            >>> from handgraph import Skeleton
            >>> Skeleton.edgeless(29).num_joints
            29
        """
        if isinstance(num_joints, bool) or not isinstance(num_joints, Integral):
            raise TypeError(
                f"edgeless: expected num_joints as int, got {type(num_joints).__name__}"
            )
        if not 1 <= num_joints <= MAX_JOINTS:
            raise ValueError(
                f"edgeless: expected num_joints to be from 1 to {MAX_JOINTS}, got {num_joints}"
            )
        return cls(f"edgeless({num_joints})", tuple(f"node_{i}" for i in range(num_joints)), ())

    @property
    def num_joints(self) -> int:
        """The number of joints."""
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Return the index of a joint, given by name or alias.

        Example:
            >>> from handgraph import HAND, RHD
            >>> HAND.index("index_tip"), RHD.index("index_tip"), HAND.index("thumb_cmc")
            (8, 5, 1)
        """
        name = self.aliases.get(joint, joint)
        if name not in self.joints:
            groups = f", and groups {', '.join(self.groups)}" if self.groups else ""
            raise ValueError(
                f"{self.name} has no joint {joint!r}; it has {', '.join(self.joints)}{groups}"
            )
        return self.joints.index(name)

    def select(self, what: What) -> list[int]:
        """Return the sorted indices of some joints.

        Args:
            what: The name of a group, of a joint, or several of either.

        Example:
            >>> from handgraph import HAND
            >>> HAND.select("TIP")
            [4, 8, 12, 16, 20]
            >>> HAND.select(["thumb", "wrist"])
            [0, 1, 2, 3, 4]
        """
        if not isinstance(what, Iterable):
            raise TypeError(f"{self.name}: expected names of joints or groups, got {what!r}")
        names = [what] if isinstance(what, str) else list(what)
        found: set[int] = set()
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"{self.name}: expected joint names as str, got {name!r}")
            found.update(self.index(joint) for joint in self.groups.get(name, (name,)))
        return sorted(found)

    @property
    def edge_index(self) -> Tensor:
        """Both directions of every edge, sorted by target, then source. Long ``[2, 2E]``.

        Some aggregations of PyG need this order. It is the order of
        ``torch_geometric.utils.sort_edge_index`` with ``sort_by_row=False``.
        """
        pairs = [(self.index(u), self.index(v)) for u, v in self.edges]
        both = sorted(pairs + [(v, u) for u, v in pairs], key=lambda pair: pair[::-1])
        return torch.tensor(both, dtype=torch.long).reshape(-1, 2).t().contiguous()

    def adjacency(self, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return the symmetric 0/1 adjacency without self-loops. ``[J, J]``.

        Example:
            >>> from handgraph import HAND
            >>> int(HAND.adjacency().sum())
            40
        """
        adjacency = torch.zeros(self.num_joints, self.num_joints, dtype=dtype)
        adjacency[tuple(self.edge_index)] = 1
        return adjacency

    def hops(self) -> Tensor:
        """Return the number of edges on the shortest path between joints, ``inf`` without a path.

        ``[J, J]``, in the default dtype. Computed by ``scipy.sparse.csgraph``.

        Example:
            >>> from handgraph import HAND
            >>> int(HAND.hops()[HAND.index("thumb_tip"), HAND.index("pinky_tip")])
            8
        """
        from scipy.sparse import csgraph, csr_array  # slow to import

        with torch.device("cpu"):  # independent of the default device
            graph = csr_array(self.adjacency(dtype=torch.float64).numpy())
        hops = csgraph.shortest_path(graph, unweighted=True, directed=False)
        return torch.tensor(hops, dtype=torch.get_default_dtype())

    def index_from(self, other: Skeleton, *, side: str | None = None) -> Tensor:
        """Return the indices that reorder joints from ``other`` to this skeleton. Long ``[J]``.

        ``x[..., HAND.index_from(RHD), :]`` reorders joints from RHD to HAND. Joints are matched
        by name, so ``other`` may have more joints than this skeleton.

        Args:
            other: The skeleton of the data.
            side: ``"left"`` or ``"right"`` selects the joints of ``other`` whose names start with
                that side.

        Raises:
            ValueError: If ``other`` lacks a joint of this skeleton, or ``side`` is unknown.
            TypeError: If ``other`` is not a skeleton.

        Example:
            >>> from handgraph import HAND, INTERHAND, RHD
            >>> HAND.index_from(RHD)[:6].tolist()
            [0, 4, 3, 2, 1, 8]
            >>> HAND.index_from(INTERHAND, side="left")[:6].tolist()
            [41, 24, 23, 22, 21, 28]
        """
        if not isinstance(other, Skeleton):
            raise TypeError(
                f"index_from: expected a Skeleton, got {type(other).__name__}: with the names of "
                f"your joints in order, call "
                f"{self.name}.index_from(Skeleton('mine', names, edges=()))"
            )
        if side not in (None, "left", "right"):
            raise ValueError(f"index_from: expected side to be left or right, got {side!r}")
        wanted = [f"{side}_{joint}" if side else joint for joint in self.joints]
        missing = [joint for joint in wanted if joint not in other.joints]
        if missing:
            raise ValueError(
                f"{other.name} lacks joints of {self.name}: {', '.join(missing)}; "
                f"it has {', '.join(other.joints)}"
            )
        return torch.tensor([other.joints.index(joint) for joint in wanted], device="cpu")

    def swap_sides(self) -> Tensor:
        """Return the index of each joint's counterpart on the other side. Long ``[J]``.

        ``x[..., skeleton.swap_sides(), :]`` exchanges ``left_...`` and ``right_...`` joints, as a
        mirrored body requires. Other joints do not move.

        Raises:
            ValueError: If a joint has no counterpart.

        Example:
            >>> from handgraph import COCO, HAND
            >>> COCO.swap_sides()[:5].tolist(), COCO.joints[1]
            ([0, 2, 1, 4, 3], 'left_eye')
            >>> HAND.swap_sides().equal(torch.arange(21))
            True
        """
        names = [other_side(joint) for joint in self.joints]
        lost = [name for name in names if name not in self.joints]
        if lost:
            raise ValueError(f"{self.name} has no {', '.join(lost)}: its sides cannot be swapped")
        return torch.tensor([self.joints.index(name) for name in names], device="cpu")

    def reorder(self, name: str, joints: Iterable[str]) -> Skeleton:
        """Return the same skeleton with its joints in another order.

        Example:
            >>> from handgraph import HAND
            >>> HAND.reorder("backwards", reversed(HAND.joints)).index("wrist")
            20
        """
        joints = tuple(joints)
        if sorted(joints) != sorted(self.joints):
            raise ValueError(
                f"{name}: expected the {self.num_joints} joints of {self.name}, each "
                f"once, got {len(joints)}: {', '.join(joints)}"
            )
        return Skeleton(
            name, joints, self.edges, groups=self.groups, aliases=self.aliases, root=self.root
        )

    @property
    def parents(self) -> tuple[int, ...]:
        """Index of each joint's parent, the neighbour nearer to the root; -1 for the root itself.

        Raises:
            ValueError: If the skeleton has no root, or is not a tree.
        """
        if self.root is None:
            raise ValueError(f"{self.name} has no root, so its joints have no parents")
        with torch.device("cpu"):  # independent of the default device
            hops, adjacency = self.hops(), self.adjacency(dtype=torch.bool)
        if len(self.edges) != self.num_joints - 1 or not torch.isfinite(hops).all():
            raise ValueError(
                f"{self.name} is not a tree: {self.num_joints} joints, "
                f"{len(self.edges)} edges, so its joints have no parents"
            )
        hops = hops[self.index(self.root)]
        nearer = adjacency & (hops < hops.unsqueeze(1))
        parent = nearer.to(torch.uint8).argmax(dim=1).where(nearer.any(dim=1), -1)
        return tuple(parent.tolist())

    @property
    def bones(self) -> Tensor:
        """Indices of parent and child of every bone, sorted by child. Long ``[2, J - 1]``.

        ``xyz[..., bones[1], :] - xyz[..., bones[0], :]`` are the bone vectors.

        Raises:
            ValueError: If the skeleton has no root, or is not a tree.
        """
        pairs = [(parent, child) for child, parent in enumerate(self.parents) if parent >= 0]
        return torch.tensor(pairs, dtype=torch.long, device="cpu").reshape(-1, 2).t().contiguous()

    def to_data(self, **attributes: Any) -> Data:
        """Wrap tensors over the joints as a PyG graph with this skeleton's ``edge_index``.

        Args:
            attributes: Attributes of the ``Data``, such as ``x=[J, C]``.

        Example:
            >>> import torch
            >>> from handgraph import HAND
            >>> HAND.to_data(x=torch.zeros(21, 2))
            Data(x=[21, 2], edge_index=[2, 40], num_nodes=21)
        """
        return Data(edge_index=self.edge_index, num_nodes=self.num_joints, **attributes)

    def to_networkx(self) -> networkx.Graph:
        """Convert the skeleton to a ``networkx.Graph`` over joint names.

        Example:
            >>> from handgraph import HAND
            >>> sorted(HAND.to_networkx()["wrist"])[0]
            'index_mcp'
        """
        import networkx

        graph = networkx.Graph(name=self.name)
        graph.add_nodes_from(self.joints)
        graph.add_edges_from(self.edges)
        return graph


def _check_ancestors(name: str, parents: Mapping[str, str | None], joint: str) -> None:
    path = [joint]
    while (parent := parents.get(path[-1])) is not None:
        path.append(parent)
        if parent in path[:-1]:
            raise ValueError(f"{name}: the parents form a cycle: {', '.join(path)}")


def other_side(joint: str) -> str:
    """Return the name with left and right exchanged, or the same name if it has neither."""
    other = {"left": "right", "right": "left"}
    return "_".join(other.get(word, word) for word in joint.split("_"))


def chain(*joints: str) -> list[tuple[str, str]]:
    """Return the edges of a chain of joints: ``chain("a", "b", "c")`` is ``a-b, b-c``.

    Example:
        >>> from handgraph.skeleton import chain
        >>> len(chain("wrist", "index_mcp", "index_pip"))
        2
    """
    return list(pairwise(joints))
