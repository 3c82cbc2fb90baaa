"""Plots of poses, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from handgraph.plot._axes import flat_axes, solid_axes
from handgraph.plot._check import Array, Mask, check_named, to_hidden, to_points
from handgraph.plot._marks import mark_bones, mark_joints
from handgraph.plot.style import Style, joint_styles, style
from handgraph.skeleton import Skeleton
from handgraph.skeletons import HAND


def draw_pose(
    uv: Tensor,
    skeleton: Skeleton = HAND,
    *,
    visible: Tensor | None = None,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a pose in the image plane; hidden joints are hollow.

    Args:
        uv: Positions of the joints in the image.
        skeleton: Skeleton of the joints.
        visible: Visibility of the joints. Default: all are visible.
        color: Colour of all joints. Default: limbs differ by colour and marker
            (``ax.legend()`` names them).
        ax: 2D axes, such as those of :func:`handgraph.plot.draw_image`. Default: new axes. The v
            axis always points down.

    Shapes:
        uv ``[J, 2]``, visible Bool ``[J]``; joints that are not finite are not drawn

    Units:
        Pixels, (u, v) order, integers are pixel centres.

    Raises:
        TypeError: If ``uv`` is not a floating-point tensor, or ``visible`` not bool.
        ValueError: If a shape does not fit the skeleton, or ``ax`` is 3D.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.plot import draw_pose
        >>> hand = SyntheticHands(1, seed=0, progress=False)[0]
        >>> ax = draw_pose(hand.uv_true, visible=hand.visible)
        >>> bool(ax.yaxis_inverted()), ax.get_xlabel()
        (True, 'u (pixels)')
    """
    points, hidden = to_points(uv, "uv", skeleton, 2), to_hidden(visible, skeleton)
    ax = flat_axes(ax)
    _mark(ax, points, hidden, skeleton, _styles(skeleton, color))
    return _image_plane(ax)


def draw_pose_3d(
    xyz: Tensor,
    skeleton: Skeleton = HAND,
    *,
    visible: Tensor | None = None,
    color: str | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a 3D pose as seen by the camera: upright, x to the right, z away from the viewer.

    The axes of the plot are (x, z, y) with equal scale, and the third points down.

    Args:
        xyz: Positions of the joints in the camera frame.
        skeleton: Skeleton of the joints.
        visible: Visibility of the joints; visible joints are filled. Default: all are visible.
        color: Colour of all joints. Default: limbs differ by colour and marker
            (``ax.legend()`` names them).
        unit: Unit in the axis labels, such as ``"m"``.
        ax: Axes with ``projection="3d"``. Default: new axes.

    Shapes:
        xyz ``[J, 3]``, visible Bool ``[J]``; joints that are not finite are not drawn

    Units:
        Any unit of length, in the camera frame (x right, y down, z forward).

    Raises:
        TypeError: If ``xyz`` is not a floating-point tensor, or ``visible`` not bool.
        ValueError: If a shape does not fit the skeleton, or ``ax`` is not 3D.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.plot import draw_pose_3d
        >>> hand = SyntheticHands(1, seed=0, progress=False)[0]
        >>> ax = draw_pose_3d(hand.xyz, visible=hand.visible, unit="m")
        >>> ax.get_ylabel(), ax.get_zlabel(), bool(ax.zaxis_inverted())
        ('z (m)', 'y (m)', True)
    """
    points, hidden = to_points(xyz, "xyz", skeleton, 3), to_hidden(visible, skeleton)
    ax = solid_axes(ax)
    _mark(ax, points[:, [0, 2, 1]], hidden, skeleton, _styles(skeleton, color))
    return _camera_frame(ax, unit)


def draw_poses(
    poses: Mapping[str, Tensor],
    skeleton: Skeleton = HAND,
    *,
    visible: Tensor | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw several poses on the same 2D or 3D axes, with a legend.

    Poses differ by colour, marker and dashes.

    Args:
        poses: Poses by name: ``{"truth": xyz, "prediction": ...}``.
        skeleton: Skeleton of the joints.
        visible: Visibility of the joints of all poses; visible joints are filled. Default: all.
        unit: Unit in the axis labels of 3D poses, such as ``"m"``.
        ax: 2D axes for 2D poses, or 3D axes for 3D poses. Default: new axes.

    Shapes:
        Each pose ``[J, 2]`` as in :func:`handgraph.plot.draw_pose`, or each ``[J, 3]`` as in
        :func:`handgraph.plot.draw_pose_3d`; visible Bool ``[J]``

    Units:
        2D poses in pixels, (u, v) order; 3D poses in any unit, camera frame.

    Raises:
        TypeError: If ``poses`` is not a mapping, a pose is not a floating-point tensor, or
            ``visible`` not bool.
        ValueError: If ``poses`` is empty, or a shape does not fit the other poses, skeleton or
            axes.

    Example:
        >>> from handgraph.datasets import SyntheticHands
        >>> from handgraph.plot import draw_poses
        >>> hand = SyntheticHands(1, seed=0, progress=False)[0]
        >>> ax = draw_poses({"truth": hand.uv_true, "detected": hand.uv}, visible=hand.visible)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['truth', 'detected']
    """
    channels = _channels(poses)
    arrays = [to_points(pose, name, skeleton, channels) for name, pose in poses.items()]
    hidden = to_hidden(visible, skeleton)
    ax = flat_axes(ax) if channels == 2 else solid_axes(ax)
    for position, (name, points) in enumerate(zip(poses, arrays, strict=True)):
        styles = [style(position, name)] * skeleton.num_joints
        _mark(ax, points if channels == 2 else points[:, [0, 2, 1]], hidden, skeleton, styles)
    ax.legend(loc="best" if channels == 2 else "upper left")
    return _image_plane(ax) if channels == 2 else _camera_frame(ax, unit)


def _channels(poses: Mapping[str, Tensor]) -> int:
    """Return the number of coordinates of the first pose, 2 or 3."""
    check_named(poses, "pose")
    name, pose = next(iter(poses.items()))
    shape = list(getattr(pose, "shape", ()))
    if shape[1:] not in ([2], [3]):
        raise ValueError(f"expected {name} of shape [J, 2] or [J, 3], got {shape}")
    return int(shape[-1])


def _styles(skeleton: Skeleton, color: str | None) -> list[Style]:
    return joint_styles(skeleton) if color is None else [Style("", color)] * skeleton.num_joints


def _mark(
    ax: Axes, points: Array, hidden: Mask, skeleton: Skeleton, styles: Sequence[Style]
) -> None:
    """Draw bones and joints; in 2D with a white outline for contrast with images."""
    outline = [withStroke(linewidth=3.2, foreground="white")] if points.shape[1] == 2 else []
    mark_bones(ax, points, skeleton, styles, skeleton.edges, path_effects=outline)
    mark_joints(ax, points, hidden, styles, path_effects=outline)


def _image_plane(ax: Axes) -> Axes:
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.set_aspect("equal")
    ax.set(xlabel="u (pixels)", ylabel="v (pixels)")
    return ax


def _camera_frame(ax: Axes, unit: str | None) -> Axes:
    solid: Any = ax  # matplotlib has no types for 3D axes
    if not solid.zaxis_inverted():
        solid.invert_zaxis()
    limits = solid.get_xlim(), solid.get_ylim(), solid.get_zlim()
    solid.set_box_aspect([abs(high - low) for low, high in limits], zoom=0.88)  # room for labels
    solid.tick_params(labelsize=8)
    for axis in (solid.xaxis, solid.yaxis, solid.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    label = "" if unit is None else f" ({unit})"
    solid.set(xlabel=f"x{label}", ylabel=f"z{label}", zlabel=f"y{label}")
    return ax
