"""Markers of joints and lines of bones, in 2D and 3D."""

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
    """Draw a line for each edge with finite ends."""
    for u, v in edges:
        ends = [skeleton.index(u), skeleton.index(v)]
        if np.isfinite(points[ends]).all():
            look = edge_style(styles[ends[0]], styles[ends[1]])
            options = {"color": look.color, "linestyle": look.dashes, "linewidth": 1.6} | line
            ax.plot(*points[ends].T, zorder=2, **options)


def mark_joints(
    ax: Axes, points: Array, hidden: Mask, styles: Sequence[Style], **line: Any
) -> None:
    """Draw the finite joints of each style, hidden joints hollow.

    Each named style has a legend entry, even if none of its joints is drawn.
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
                label = ""  # one legend entry for each style


def mark_names(ax: Axes, points: Array, names: Iterable[str]) -> None:
    """Write the names of joints on the side away from the middle."""
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
