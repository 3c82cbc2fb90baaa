"""PCK curves under small and severe occlusion (Fig. 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from matplotlib.axes import Axes
from torch import Tensor

from handgraph.metrics import Interval, occlusion_groups, thresholds
from handgraph.plot import draw_pck

GRID = thresholds(0.05, 51)


def draw_curves(
    axes: Iterable[Axes], visible: Tensor, curves: Callable[[Tensor], dict[str, Interval]]
) -> None:
    """PCK of visible joints under small and severe occlusion, from images to curves by name."""
    groups = occlusion_groups(visible)
    for ax, group in zip(axes, ("small", "severe"), strict=True):
        images = groups[group]
        ax.set_title(f"{group} occlusion, {int(images.sum())} images", fontsize="medium")
        if images.any():
            draw_pck(curves(images), GRID, ax=ax)
