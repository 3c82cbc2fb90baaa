"""Plots of skeletons and removal sets."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from handgraph.plot._axes import flat_axes, plain
from handgraph.plot._check import Array, to_points
from handgraph.plot._marks import mark_bones, mark_joints, mark_names
from handgraph.plot.layout import skeleton_layout
from handgraph.plot.style import FAINT, joint_styles
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets, check_removal


def draw_skeleton(
    skeleton: Skeleton,
    positions: Tensor | None = None,
    *,
    names: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the joints and edges of a skeleton.

    Limbs (groups that run along bones: fingers, arms, legs) differ by colour and marker.
    ``ax.legend()`` names them.

    Args:
        skeleton: Any skeleton, also disconnected, with cycles or without edges.
        positions: Positions of the joints. Default: :func:`handgraph.plot.skeleton_layout`.
        names: Whether to write the names of the joints.
        ax: 2D axes. Default: new axes.

    Shapes:
        positions ``[J, 2]``; joints that are not finite are not drawn

    Units:
        x to the right and y up, in any unit.

    Raises:
        TypeError: If ``positions`` is not a floating-point tensor.
        ValueError: If a shape does not fit the skeleton, or ``ax`` is 3D.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.plot import draw_skeleton
        >>> ax = draw_skeleton(HAND, names=True)
        >>> len(ax.texts)
        21
    """
    points = _points(skeleton, positions)
    ax = plain(flat_axes(ax))
    styles = joint_styles(skeleton)
    mark_bones(ax, points, skeleton, styles, skeleton.edges)
    mark_joints(ax, points, np.zeros(len(points), dtype=np.bool_), styles)
    if names:
        mark_names(ax, points, skeleton.joints)
    return ax


def draw_removal_set(
    removal: RemovalSets,
    which: int | str,
    positions: Tensor | None = None,
    *,
    edges: Literal["bridged", "induced"] = "bridged",
    names: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the subgraph of a removal set, and the removed joints.

    Removed joints are grey crosses. Edges of the skeleton are solid. Edges that bridge removed
    joints (decision 12) are dashed.

    Args:
        removal: The removal sets.
        which: Name or index of a removal set.
        positions: Positions of all joints, including removed ones. Default:
            :func:`handgraph.plot.skeleton_layout`.
        edges: ``"bridged"`` or ``"induced"``, as in :meth:`handgraph.RemovalSets.subgraph`.
        names: Whether to write the names of the joints.
        ax: 2D axes. Default: new axes.

    Shapes:
        positions ``[J, 2]``; joints that are not finite are not drawn

    Units:
        x to the right and y up, in any unit.

    Raises:
        TypeError: If ``positions`` is not a floating-point tensor.
        ValueError: If the set or the kind of edges is unknown, a shape does not fit the skeleton,
            or ``ax`` is 3D.

    Example:
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.plot import draw_removal_set
        >>> ax = draw_removal_set(RemovalSets.by_level(HAND), "PIP")
        >>> sum(line.get_linestyle() == "--" for line in ax.lines)  # each finger from MCP to DIP
        5
    """
    check_removal(removal, "removal")
    skeleton, rest = removal.skeleton, removal.subgraph(which, edges)
    place = removal.names.index(which) if isinstance(which, str) else which
    points = _points(skeleton, positions)
    ax = plain(flat_axes(ax))
    styles = joint_styles(skeleton)
    known = {frozenset(edge) for edge in skeleton.edges}
    solid = [edge for edge in rest.edges if frozenset(edge) in known]
    bridges = [edge for edge in rest.edges if frozenset(edge) not in known]
    mark_bones(ax, points, skeleton, styles, solid)
    mark_bones(ax, points, skeleton, styles, bridges, linestyle="--", linewidth=1.2)
    removed = ~removal.keep_mask[place].numpy()
    mark_joints(ax, np.where(removed[:, None], np.nan, points), removed, styles)
    gone = points[removed & np.isfinite(points).all(axis=1)]
    ax.plot(*gone.T, color=FAINT, marker="x", linestyle="none", label="removed", zorder=3)
    if names:
        mark_names(ax, points, skeleton.joints)
    ax.set_title(removal.names[place])
    return ax


def _points(skeleton: Skeleton, positions: Tensor | None) -> Array:
    if positions is None:
        positions = skeleton_layout(skeleton)
    return to_points(positions, "positions", skeleton, 2)
