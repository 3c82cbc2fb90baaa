"""Pictures: skeletons, removal sets, hands in 2D and 3D, learned graphs, weights and curves.

Needs the extra ``handgraph[plot]`` (matplotlib). Every function draws on the axes that it is given
as ``ax``, or on new ones in a figure of their own, and returns them. Nothing is shown and pyplot is
not touched, so all of it works without a display: ``ax.figure.savefig("hand.png")`` writes the
picture, and what was drawn can be changed as in any matplotlib figure.

Colours are those of Okabe and Ito, "Color universal design" (2008), which people with any kind of
colour vision tell apart. They are never the only sign: each finger and each pose also has a marker
of its own, each curve its own dashes; hidden joints are hollow, removed ones are crosses. Signed
weights go from violet to orange (ColorBrewer's PuOr), shares from blue to yellow (cividis).

A joint with a coordinate that is not finite is not drawn, and neither are its bones.

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
