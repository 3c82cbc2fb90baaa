"""Axes to draw on: those of the caller, or new ones without pyplot."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def flat_axes(ax: Axes | None, width: float = 5.0, height: float = 5.0) -> Axes:
    """Return ``ax`` if it is 2D, or new 2D axes (sizes in inches) for ``None``."""
    if ax is None:
        return Figure(figsize=(width, height), layout="constrained").add_subplot()
    if ax.name == "3d":
        raise ValueError("expected 2D axes, got axes with projection='3d'")
    return ax


def solid_axes(ax: Axes | None) -> Axes:
    """Return ``ax`` if it is 3D, or new 3D axes viewed near the camera's direction for ``None``."""
    if ax is None:
        figure = Figure(figsize=(6, 4.5), layout="constrained")
        new: Axes = figure.add_subplot(projection="3d", elev=15, azim=-70)
        return new
    if ax.name != "3d":
        raise ValueError(f"expected axes with projection='3d', got {ax.name!r} ones")
    return ax


def plain(ax: Axes) -> Axes:
    """Hide frame and ticks, since layouts have no unit, and set an equal aspect ratio."""
    ax.set_aspect("equal")
    ax.axis("off")
    ax.margins(0.1)
    return ax
