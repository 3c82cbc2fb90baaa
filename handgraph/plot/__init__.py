"""Plots of skeletons, removal sets, 2D and 3D poses, learned graphs, weights and curves.

This package needs the extra ``handgraph[plot]`` (matplotlib). Every function draws on the axes
``ax``, or on axes of a new figure, and returns the axes. The functions do not use pyplot and show
nothing, so they work without a display. ``ax.figure.savefig("hand.png")`` writes a file, and all
artists can be changed as in any matplotlib figure.

Colours are those of Okabe and Ito, "Color universal design" (2008), which people with any kind of
colour vision can distinguish. Colour is never the only cue: fingers and poses also differ by
marker, and curves by dashes. Hidden joints are hollow, removed joints are crosses. Signed weights
range from violet to orange (ColorBrewer's PuOr), fractions from blue to yellow (cividis).

Joints with a coordinate that is not finite, and their bones, are not drawn.

Example:
    >>> import torch
    >>> from handgraph.datasets import SyntheticHands
    >>> from handgraph.plot import draw_pose
    >>> hand = SyntheticHands(1, seed=0, progress=False)[0]
    >>> ax = draw_pose(hand.uv, visible=hand.visible)
    >>> ax.figure.savefig("hand.png")
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("handgraph.plot needs matplotlib: pip install 'handgraph[plot]'") from error

from handgraph.plot.adjacency import draw_adjacency, draw_adjacency_edges
from handgraph.plot.curves import draw_calibration, draw_pck, draw_sparsification
from handgraph.plot.image import draw_image
from handgraph.plot.layout import skeleton_layout
from handgraph.plot.pose import draw_pose, draw_pose_3d, draw_poses
from handgraph.plot.skeleton import draw_removal_set, draw_skeleton
from handgraph.plot.weights import draw_weights

__all__ = [
    "draw_adjacency",
    "draw_adjacency_edges",
    "draw_calibration",
    "draw_image",
    "draw_pck",
    "draw_pose",
    "draw_pose_3d",
    "draw_poses",
    "draw_removal_set",
    "draw_skeleton",
    "draw_sparsification",
    "draw_weights",
    "skeleton_layout",
]
