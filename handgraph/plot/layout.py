"""2D layouts of skeletons whose joints have no coordinates."""

from __future__ import annotations

import math

import networkx
import torch
from torch import Tensor

from handgraph._check import check_skeleton
from handgraph.skeleton import Skeleton

_WRIST = (0.0, 0.0)
_FINGERS = {
    "thumb": ((-1.2, 0.9), (-2.2, 1.7), (-3.0, 2.5), (-3.6, 3.3)),
    "index": ((-1.2, 3.2), (-1.6, 4.5), (-1.85, 5.4), (-2.05, 6.2)),
    "middle": ((0.0, 3.4), (0.0, 4.9), (0.0, 5.9), (0.0, 6.8)),
    "ring": ((1.1, 3.2), (1.45, 4.6), (1.65, 5.5), (1.8, 6.3)),
    "pinky": ((2.1, 2.8), (2.75, 3.8), (3.15, 4.5), (3.5, 5.2)),
}
"""Positions from base to tip: the back of a right hand, fingers up."""

_MIDDLE = {
    "nose": 8.4, "head": 9.2, "neck": 8.2, "thorax": 7.2, "spine": 5.8, "pelvis": 4.5
}  # fmt: skip
_SIDE = {
    "eye": (0.4, 9.5), "ear": (1.0, 9.0), "shoulder": (1.6, 6.9), "elbow": (2.6, 5.8),
    "wrist": (3.5, 4.9), "hip": (1.0, 4.1), "knee": (1.2, 2.0), "ankle": (1.3, 0.0),
}  # fmt: skip
"""Positions of a body that faces the viewer: midline, and left side (right in the plot)."""


def skeleton_layout(skeleton: Skeleton) -> Tensor:
    """Compute a 2D layout of the joints of a skeleton, from known names or from the edges.

    Joints of :data:`~handgraph.skeletons.HAND`, or any subset of them, give the back of a right
    hand. With the prefixes ``left_`` and ``right_`` they give two hands side by side. Joints of
    :data:`~handgraph.skeletons.COCO` and :data:`~handgraph.skeletons.H36M` give a body that faces
    the viewer. For other skeletons, networkx lays out each component by Kamada and Kawai, "An
    algorithm for drawing general undirected graphs" (1989), and components are placed side by side.
    A skeleton without edges gives a circle.

    Args:
        skeleton: Any skeleton.

    Shapes:
        -> ``[J, 2]``, in PyTorch's default dtype

    Units:
        x to the right and y up, without unit; bones are about 1 long.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.plot import skeleton_layout
        >>> skeleton_layout(HAND)[HAND.index("middle_tip")].tolist()
        [0.0, 6.800000190734863]
    """
    check_skeleton(skeleton, "skeleton")
    for known in (_one_hand(), _two_hands(), _body()):
        if all(joint in known for joint in skeleton.joints):
            return torch.tensor([known[joint] for joint in skeleton.joints])
    return _by_edges(skeleton)


def _one_hand() -> dict[str, tuple[float, float]]:
    levels = ("mcp", "pip", "dip", "tip")
    joints = {
        f"{finger}_{level}": place
        for finger, places in _FINGERS.items()
        for level, place in zip(levels, places, strict=True)
    }
    return {"wrist": _WRIST, **joints}


def _two_hands() -> dict[str, tuple[float, float]]:
    hand = _one_hand()
    right = {f"right_{joint}": (x + 4.5, y) for joint, (x, y) in hand.items()}
    return right | {f"left_{joint}": (-x - 4.5, y) for joint, (x, y) in hand.items()}


def _body() -> dict[str, tuple[float, float]]:
    middle = {joint: (0.0, y) for joint, y in _MIDDLE.items()}
    left = {f"left_{joint}": place for joint, place in _SIDE.items()}
    return middle | left | {f"right_{joint}": (-x, y) for joint, (x, y) in _SIDE.items()}


def _by_edges(skeleton: Skeleton) -> Tensor:
    if not skeleton.edges:
        angles = math.tau * torch.arange(skeleton.num_joints) / skeleton.num_joints
        return torch.stack([angles.sin(), angles.cos()], dim=-1) / math.tau * skeleton.num_joints
    places: dict[str, tuple[float, float]] = {}
    start = 0.0
    for piece in _components(skeleton):
        xy = _component_layout(piece)
        xy = xy - xy.min(dim=0).values + torch.tensor([start, 0.0])
        start = float(xy[:, 0].max()) + 1
        places |= zip(piece, xy.tolist(), strict=True)
    return torch.tensor([places[joint] for joint in skeleton.joints])


def _components(skeleton: Skeleton) -> list[networkx.Graph]:
    """Return the components, with nodes in joint order, which the layout depends on."""
    joined = networkx.connected_components(skeleton.to_networkx())
    pieces = []
    for joints in sorted(joined, key=lambda some: min(map(skeleton.index, some))):
        piece = networkx.Graph()
        piece.add_nodes_from(sorted(joints, key=skeleton.index))
        piece.add_edges_from(edge for edge in skeleton.edges if edge[0] in joints)
        pieces.append(piece)
    return pieces


def _component_layout(piece: networkx.Graph) -> Tensor:
    """Lay out a connected graph with mean edge length 1, ``[n, 2]``."""
    places = networkx.kamada_kawai_layout(piece)
    xy = torch.stack([torch.as_tensor(places[joint]) for joint in piece]).float()
    if not piece.edges:
        return xy
    nodes = {joint: i for i, joint in enumerate(piece)}
    ends = torch.tensor([[nodes[u], nodes[v]] for u, v in piece.edges])
    lengths = torch.linalg.vector_norm(xy[ends[:, 0]] - xy[ends[:, 1]], dim=-1)
    scaled: Tensor = xy / lengths.mean()
    return scaled
