"""Plots of learned adjacencies, as heat maps or as edges on the skeleton."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from torch import Tensor

from handgraph._check import check_skeleton
from handgraph.plot._axes import flat_axes, plain
from handgraph.plot._check import Array, Mask, to_array, to_points
from handgraph.plot._heat import heat_map
from handgraph.plot._marks import mark_bones, mark_joints
from handgraph.plot.layout import skeleton_layout
from handgraph.plot.style import FAINT, Style
from handgraph.skeleton import Skeleton

_POSITIVE, _NEGATIVE = "#B35806", "#542788"  # the ends of ColorBrewer's PuOr
_WIDEST = 5.0  # points


def draw_adjacency(adjacency: Tensor, skeleton: Skeleton, *, ax: Axes | None = None) -> Axes:
    """Draw an adjacency as a heat map: entry (i, j) is the weight from joint j to joint i.

    Colours are symmetric about 0, which is white. NaN entries are blank. Infinities have the colour
    of the largest finite weight.

    Args:
        adjacency: One of :meth:`handgraph.nn.AdaptiveGraphUNet.adjacencies`, of a single branch.
        skeleton: Skeleton of rows and columns; for branch n, ``removal.subgraph(n)``.
        ax: 2D axes, which are shared with the colour bar. Default: new axes.

    Shapes:
        adjacency ``[J, J]``

    Raises:
        TypeError: If ``adjacency`` is not a floating-point tensor.
        ValueError: If a shape does not fit the skeleton, or ``ax`` is 3D.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet
        >>> from handgraph.plot import draw_adjacency
        >>> ax = draw_adjacency(AdaptiveGraphUNet(2, 3, HAND).adjacencies()[0], HAND)
        >>> ax.get_yticklabels()[8].get_text()
        'index_tip'
    """
    weights = _square(adjacency, skeleton)
    ax = flat_axes(ax, 6.5, 5.5)
    largest = _largest(weights)
    heat_map(ax, weights, skeleton.joints, skeleton.joints, "weight",
             cmap="PuOr_r", vmin=-largest, vmax=largest)  # fmt: skip
    ax.set(xlabel="from", ylabel="to")
    return ax


def draw_adjacency_edges(
    adjacency: Tensor,
    skeleton: Skeleton,
    positions: Tensor | None = None,
    *,
    threshold: float = 0.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of an adjacency as arcs, over the grey bones of a skeleton.

    The width of an arc is proportional to the absolute weight. Positive weights are orange and
    solid, negative weights violet and dashed. Entry (i, j) is an arc from joint j to joint i that
    bends to the left, so both directions are visible. The diagonal, weights up to the threshold,
    and weights that are not finite are not drawn.

    Args:
        adjacency: One of :meth:`handgraph.nn.AdaptiveGraphUNet.adjacencies`, of a single branch.
        skeleton: Skeleton of rows and columns; for branch n, ``removal.subgraph(n)``.
        positions: Positions of the joints. Default: :func:`handgraph.plot.skeleton_layout`.
        threshold: Only larger absolute weights are drawn.
        ax: 2D axes. Default: new axes.

    Shapes:
        adjacency ``[J, J]``, positions ``[J, 2]``; no arcs at joints that are not finite

    Units:
        positions: x to the right and y up, in any unit.

    Raises:
        TypeError: If ``adjacency`` or ``positions`` is not a floating-point tensor.
        ValueError: If a shape does not fit the skeleton, ``threshold`` is negative or not finite,
            or ``ax`` is 3D.

    Example:
        >>> from handgraph import HAND
        >>> from handgraph.plot import draw_adjacency_edges
        >>> ax = draw_adjacency_edges(HAND.adjacency(), HAND, threshold=0.5)
        >>> len(ax.patches)  # both directions of 20 bones
        40
    """
    weights = _square(adjacency, skeleton)
    if not 0 <= threshold < math.inf:
        raise ValueError(f"expected threshold to be finite and at least 0, got {threshold}")
    positions = skeleton_layout(skeleton) if positions is None else positions
    points = to_points(positions, "positions", skeleton, 2)
    ax = plain(flat_axes(ax))
    styles = [Style("")] * skeleton.num_joints
    mark_bones(ax, points, skeleton, styles, skeleton.edges, color=FAINT, linewidth=1)
    mark_joints(ax, points, np.zeros(len(points), dtype=np.bool_), styles)
    np.fill_diagonal(weights, 0)
    widths = _WIDEST * np.abs(weights) / _largest(weights)
    placed = np.isfinite(points).all(axis=1)
    drawn: Mask = (np.abs(weights) > threshold) & np.isfinite(weights) & np.outer(placed, placed)
    for to, start in np.argwhere(drawn):
        ax.add_patch(_arc(points[start], points[to], weights[to, start], widths[to, start]))
    return ax


def _arc(start: Array, end: Array, weight: float, width: float) -> PathPatch:
    """Return a parabola whose middle is offset to the left by a tenth of its length."""
    way = end - start
    bend = (start + end) / 2 + 0.2 * np.array([-way[1], way[0]])
    path = Path(np.stack([start, bend, end]), [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    return PathPatch(path, fill=False, linewidth=width, zorder=1, alpha=0.7,
                     edgecolor=_POSITIVE if weight > 0 else _NEGATIVE,
                     linestyle="-" if weight > 0 else "--")  # fmt: skip


def _square(adjacency: Tensor, skeleton: Skeleton) -> Array:
    check_skeleton(skeleton, "skeleton")
    shape = (skeleton.num_joints, skeleton.num_joints)
    return to_array(adjacency, "adjacency", shape, f"joints by joints of {skeleton.name}").copy()


def _largest(weights: Array) -> float:
    """Return the largest finite absolute weight, or 1 if all are 0."""
    return float(np.nan_to_num(np.abs(weights), posinf=0).max()) or 1.0
