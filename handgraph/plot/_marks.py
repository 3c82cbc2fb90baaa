"""The two marks that skeletons are drawn with, in 2D as in 3D: lines for bones, joints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from handgraph.plot._check import Array, Mask
from handgraph.plot.style import Style, edge_style
from handgraph.skeleton import Skeleton


def mark_bones(
    ax: Axes,
    points: Array,
    skeleton: Skeleton,
    styles: Sequence[Style],
    edges: Iterable[tuple[str, str]],
    **line: Any,
) -> None:
    """Draw one line an edge; none where an end is not finite."""
    for u, v in edges:
        ends = [skeleton.index(u), skeleton.index(v)]
        if np.isfinite(points[ends]).all():
            look = edge_style(styles[ends[0]], styles[ends[1]])
            options = {"color": look.color, "linestyle": look.dashes, "linewidth": 1.6} | line
            ax.plot(*points[ends].T, zorder=2, **options)


def mark_joints(
    ax: Axes, points: Array, hidden: Mask, styles: Sequence[Style], **line: Any
) -> None:
    """Draw the joints of each style, hidden ones hollow; none that is not finite.

    Each style that has a name is in the legend, even where none of its joints is drawn.
    """
    finite = np.isfinite(points).all(axis=1)
    for look in dict.fromkeys(styles):
        alike = finite & np.array([other == look for other in styles])
        label = look.name
        for some, face in ((alike & ~hidden, look.color), (alike & hidden, "white")):
            if some.any() or label:
                ax.plot(
                    *points[some].T,
                    label=label or "_",
                    color=look.color,
                    marker=look.marker,
                    markersize=5,
                    markerfacecolor=face,
                    linestyle="none",
                    zorder=3,
                    **line,
                )
                label = ""  # one entry a style in the legend


def mark_names(ax: Axes, points: Array, names: Iterable[str]) -> None:
    """Write the names of joints beside them, on the side that is away from the middle."""
    finite = np.isfinite(points).all(axis=1)
    middle = np.median(points[finite, 0]) if finite.any() else 0.0
    for name, point in zip(names, points, strict=True):
        if np.isfinite(point).all():
            left = point[0] < middle
            ax.annotate(
                name,
                tuple(point),
                (-5 if left else 5, 2),
                textcoords="offset points",
                horizontalalignment="right" if left else "left",
                fontsize=7,
            )
