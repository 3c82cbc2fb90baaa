"""Pictures of poses that several examples write: PCK curves (Fig. 3), joints and hands."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from torch import Tensor

from handgraph import HAND
from handgraph.metrics import Interval, joint_errors, occlusion_groups, thresholds, visible_mean
from handgraph.plot import draw_image, draw_pck, draw_pose, draw_pose_3d

GRID = thresholds(0.05, 51)  # of the curves, finer than that of the AUC
TRUTH, PREDICTION = "#BBBBBB", "#0072B2"


def save_curves(
    rows: Mapping[str, Mapping[str, Any]],
    curve: Callable[[Any, Tensor], Interval],
    visible: Tensor,
    path: Path,
    title: str = "",
) -> None:
    """Draw PCK of visible joints under small and severe occlusion, a row of plots for each name.

    ``curve`` computes the curve of a method, from its nets and the images of a group, Bool ``[n]``.
    """
    figure = Figure(figsize=(10, 1 + 3.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, sharex=True, sharey=True, squeeze=False)
    groups = occlusion_groups(visible)
    for row, (name, methods) in zip(axes, rows.items(), strict=True):
        for ax, group in zip(row, ("small", "severe"), strict=True):
            images = groups[group]
            if images.any():
                curves = {method: curve(nets, images) for method, nets in methods.items()}
                draw_pck(curves, GRID, ax=ax)
                ax.get_legend().set_visible(ax is figure.axes[0])
            ax.set_title(f"{group} occlusion{name}, {int(images.sum())} images", fontsize="medium")
            ax.label_outer()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


class Shown(NamedTuple):
    """A hand in a picture: its joints in 2D, and the true and the predicted hands in 3D."""

    title: str  # of the joints in 2D
    visible: Tensor  # hidden joints are hollow
    true_uv: Tensor
    uv: Tensor  # detected or predicted
    true_xyz: Tensor  # in metres
    poses: dict[str, Tensor]  # predicted hands by method, in metres
    image: Tensor | None = None  # behind the joints in 2D


def save_hands(hands: Sequence[Shown], path: Path, title: str) -> None:
    """Draw a row for each hand: its joints in 2D, then the pose of each method in 3D."""
    size = len(hands), 1 + len(hands[0].poses)
    figure = Figure(figsize=(2.3 * size[1], 2.4 * size[0] + 0.6), layout="constrained")
    for row, hand in enumerate(hands):
        place = row * size[1] + 1
        ax = figure.add_subplot(*size, place)
        if hand.image is not None:
            draw_image(hand.image, ax=ax)
        for uv, color in ((hand.true_uv, TRUTH), (hand.uv, PREDICTION)):
            draw_pose(uv, HAND, visible=hand.visible, color=color, ax=ax).set_axis_off()
        ax.set_title(f"{hand.title}; {int(hand.visible.sum())} of 21 visible", fontsize=9)
        for column, (method, xyz) in enumerate(hand.poses.items(), start=1):
            space = figure.add_subplot(*size, place + column, projection="3d", elev=15, azim=-60)
            draw_in_cube(space, {TRUTH: hand.true_xyz, PREDICTION: xyz}, hand.visible)
            off = 1000 * visible_mean(joint_errors(xyz, hand.true_xyz), hand.visible)
            name = f"{fill(method, 24)}\n" if row == 0 else ""
            space.set_title(f"{name}{off:.0f} mm", fontsize=9)
    legend = "Grey: the true hand; hollow: hidden joints; mm: mean error of the visible joints"
    figure.suptitle(fill(f"{title}. {legend}", 28 * size[1]), fontsize=10)
    figure.savefig(path, dpi=110)


def draw_in_cube(space: Axes3D, hands: Mapping[str, Tensor], visible: Tensor) -> None:
    """Draw hands by colour in a cube of 20 cm around the first, the same in all panels."""
    for color, xyz in hands.items():
        draw_pose_3d(xyz, visible=visible, color=color, unit="m", ax=space)
    x, y, z = next(iter(hands.values())).mean(dim=0).tolist()
    low, high = -0.1, 0.1
    space.set(xlim=(x + low, x + high), ylim=(z + low, z + high), zlim=(y + high, y + low))
    space.set_box_aspect((1, 1, 1), zoom=1.35)
    space.set_axis_off()


def save_heatmaps(image: Tensor, heatmaps: Tensor, uv: Tensor, path: Path) -> None:
    """Draw the heatmap of each joint over the image, with the position and height of its peak."""
    figure = Figure(figsize=(15, 6.5), layout="constrained")
    edge = image.shape[-1] - 0.5
    for ax, heatmap, joint, name in zip(
        figure.subplots(3, 7).flat, heatmaps.float().numpy(), uv.tolist(), HAND.joints, strict=True
    ):
        draw_image(image, ax=ax).axis("off")
        ax.imshow(heatmap, extent=(-0.5, edge, edge, -0.5), alpha=0.6, cmap="cividis", vmin=0)
        ax.plot(*joint, "x", color="white", markersize=6)
        ax.set_title(f"{name}: {heatmap.max():.2f}", fontsize=9)
    figure.savefig(path, dpi=80)


class Hand(NamedTuple):
    """A hand in an image: its joints in pixels, in 3D, and which of them are missing."""

    side: str
    uv: Tensor
    xyz: Tensor
    missing: Tensor


def save_overlay(image: Tensor, hands: Sequence[Hand], path: Path, unit: str) -> None:
    """Draw the joints of hands over their image, and each hand in 3D; missing joints are hollow."""
    columns = 1 + len(hands)
    figure = Figure(figsize=(5 * columns, 5), layout="constrained")
    flat = draw_image(image, ax=figure.add_subplot(1, columns, 1))
    for place, hand in enumerate(hands, start=2):
        draw_pose(hand.uv, ax=flat)
        space = figure.add_subplot(1, columns, place, projection="3d", elev=15, azim=-70)
        draw_pose_3d(hand.xyz, visible=~hand.missing, unit=unit, ax=space)
        space.set_title(f"{hand.side} hand")
    figure.savefig(path, dpi=100)
