"""Heat maps of matrices with labelled rows and columns and a colour bar."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from handgraph.plot._check import Array


def heat_map(
    ax: Axes,
    matrix: Array,
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    *,
    cmap: str,
    vmin: float,
    vmax: float,
) -> None:
    """Draw the matrix; NaN entries are blank."""
    image = ax.imshow(matrix, cmap=cmap, vmin=vmin, vmax=vmax, aspect="auto",
                      interpolation="nearest")  # fmt: skip
    ax.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    ax.figure.colorbar(image, ax=ax, label=unit)
