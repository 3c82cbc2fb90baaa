"""The axes that pictures are drawn on: the caller's, or new ones that pyplot knows nothing of."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def flat_axes(ax: Axes | None, width: float = 5.0, height: float = 5.0) -> Axes:
    """Give 2D axes: ``ax`` if it is such, new ones (sizes in inches) for ``None``."""
    if ax is None:
        return Figure(figsize=(width, height), layout="constrained").add_subplot()
    if ax.name == "3d":
        raise ValueError("expected 2D axes, got axes with projection='3d'")
    return ax


def solid_axes(ax: Axes | None) -> Axes:
    """Give 3D axes: ``ax`` if it is such, new ones seen from close to the camera for ``None``."""
    if ax is None:
        figure = Figure(figsize=(6, 4.5), layout="constrained")
        new: Axes = figure.add_subplot(projection="3d", elev=15, azim=-70)
        return new
    if ax.name != "3d":
        raise ValueError(f"expected axes with projection='3d', got {ax.name!r} ones")
    return ax


def plain(ax: Axes) -> Axes:
    """Take frame and ticks away, as layouts have no unit; both directions to the same scale."""
    ax.set_aspect("equal")
    ax.axis("off")
    ax.margins(0.1)
    return ax
