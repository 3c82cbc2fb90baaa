"""Poses in images and in 3D: every joint is drawn at its coordinates."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from handgraph import COCO, HAND
from handgraph.plot import draw_image, draw_pose, draw_pose_3d, draw_poses

RNG = torch.Generator().manual_seed(0)
UV = 256 * torch.rand(21, 2, generator=RNG, dtype=torch.float64)
XYZ = torch.rand(21, 3, generator=RNG, dtype=torch.float64)
VISIBLE = torch.arange(21) % 3 > 0


def points(line):
    """Return the points of a line, ``[n, 2]`` or ``[n, 3]``."""
    return np.stack(line.get_data_3d() if hasattr(line, "get_data_3d") else line.get_data(), -1)


def marks(ax, face=None):
    """Return the sorted positions of all joints, or of those with a face colour."""
    return sorted(
        tuple(point)
        for line in ax.lines
        if line.get_linestyle() == "None"
        and (face is None or (line.get_markerfacecolor() == "white") == (face == "white"))
        for point in points(line).tolist()
    )


def bones(ax):
    lines = [line for line in ax.lines if line.get_marker() == "None"]
    return sorted(sorted(map(tuple, points(line).tolist())) for line in lines)


def as_tuples(tensor):
    return sorted(map(tuple, tensor.tolist()))


def expected_bones(where):
    return sorted(sorted(map(tuple, where[[u, v]].tolist())) for u, v in HAND.bones.t().tolist())


def test_joints_and_bones_are_drawn_at_u_and_v():
    ax = draw_pose(UV)
    assert marks(ax) == marks(ax, "full") == as_tuples(UV)
    assert bones(ax) == expected_bones(UV)
    assert ax.yaxis_inverted()
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_aspect()) == ("u (pixels)", "v (pixels)", 1)


def test_joints_and_bones_are_drawn_at_x_z_and_y():
    ax, turned = draw_pose_3d(XYZ), XYZ[:, [0, 2, 1]]
    assert marks(ax) == as_tuples(turned)
    assert bones(ax) == expected_bones(turned)
    assert [ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()] == ["x", "z", "y"]


def test_hidden_joints_are_hollow():
    for ax, where in ((draw_pose(UV, visible=VISIBLE), UV),
                      (draw_pose_3d(XYZ, visible=VISIBLE), XYZ[:, [0, 2, 1]])):  # fmt: skip
        assert marks(ax, "white") == as_tuples(where[~VISIBLE])
        assert marks(ax, "full") == as_tuples(where[VISIBLE])


def test_space_is_upright_and_to_scale():
    ax = draw_pose_3d(XYZ)
    ax.figure.canvas.draw()
    low, high = ax.get_zlim()
    assert low > high  # y points down

    def seen(x, y, z):  # position of a point in the picture: right, up
        from mpl_toolkits.mplot3d import proj3d

        return np.array(proj3d.proj_transform(x, z, y, ax.get_proj())[:2])

    centre = XYZ.mean(dim=0).numpy()
    right = seen(*(centre + np.array([0.1, 0, 0]))) - seen(*centre)
    up = seen(*(centre - np.array([0, 0.1, 0]))) - seen(*centre)
    assert right[0] > abs(right[1])
    assert up[1] > abs(up[0])
    lengths = np.ptp([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()], axis=1)
    assert np.allclose(ax._box_aspect / lengths, ax._box_aspect[0] / lengths[0])


def test_nearer_joints_are_in_front():
    ax = draw_pose_3d(XYZ)
    ax.figure.canvas.draw()
    from mpl_toolkits.mplot3d import proj3d

    near, far = (proj3d.proj_transform(0.5, z, 0.5, ax.get_proj())[2] for z in (0.2, 0.8))
    assert near < far  # nearer to the viewer


@pytest.mark.parametrize("draw", [draw_pose, draw_pose_3d])
def test_a_joint_that_is_not_finite_is_not_drawn(draw):
    pose = (UV if draw is draw_pose else XYZ).clone()
    pose[HAND.index("index_pip"), -1] = torch.nan
    pose[HAND.index("thumb_tip"), 0] = torch.inf
    ax = draw(pose, visible=VISIBLE)
    assert (len(marks(ax)), len(bones(ax))) == (19, 17)


@pytest.mark.parametrize("draw", [draw_pose, draw_pose_3d])
def test_one_colour_for_all(draw):
    ax = draw(UV if draw is draw_pose else XYZ, color="#123456")
    assert {line.get_color() for line in ax.lines} == {"#123456"}
    assert {line.get_marker() for line in ax.lines} == {"None", "o"}


def test_legend_names_each_finger_once():
    ax = draw_pose(UV, visible=VISIBLE)
    names = [text.get_text() for text in ax.legend().get_texts()]
    assert names == ["thumb", "index", "middle", "ring", "pinky"]


def test_legend_names_a_finger_that_is_all_hidden():
    visible = torch.ones(21, dtype=torch.bool)
    visible[HAND.select("index")] = False
    ax = draw_pose(UV, visible=visible)
    assert "index" in [text.get_text() for text in ax.legend().get_texts()]


@pytest.mark.parametrize("pose", [UV, XYZ])
def test_legend_lists_a_pose_without_finite_joints(pose):
    ax = draw_poses({"truth": pose, "failed": torch.full_like(pose, torch.nan)})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["truth", "failed"]
    assert len(marks(ax)) == 21


def test_any_skeleton():
    pose = torch.rand(17, 2, dtype=torch.float64)
    ax = draw_pose(pose, COCO)
    assert marks(ax) == as_tuples(pose)
    assert len(bones(ax)) == 19


@pytest.mark.parametrize(("pose", "turn"), [(UV, [0, 1]), (XYZ, [0, 2, 1])])
def test_several_poses_differ_and_have_a_legend(pose, turn):
    ax = draw_poses({"truth": pose, "prediction": pose + 0.01}, visible=VISIBLE)
    assert marks(ax) == sorted(as_tuples(pose[:, turn]) + as_tuples((pose + 0.01)[:, turn]))
    assert len(marks(ax, "white")) == 14
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["truth", "prediction"]
    for look in ("get_color", "get_marker", "get_linestyle"):
        truth = {getattr(line, look)() for line in ax.lines[: len(ax.lines) // 2]}
        prediction = {getattr(line, look)() for line in ax.lines[len(ax.lines) // 2 :]}
        assert truth - {"None"} != prediction - {"None"}


def test_a_pose_over_an_image_keeps_its_limits():
    ax = draw_image(torch.rand(3, 192, 256))
    assert draw_pose(UV + 100, ax=ax) is ax
    assert marks(ax) == as_tuples(UV + 100)
    assert (*ax.get_xlim(), *ax.get_ylim()) == (-0.5, 255.5, 191.5, -0.5)


def test_second_pose_does_not_turn_the_axes_again():
    flat, solid = draw_pose(UV), draw_pose_3d(XYZ)
    draw_pose(UV + 300, ax=flat)
    draw_pose_3d(XYZ + 3, ax=solid)
    assert flat.yaxis_inverted()
    assert solid.zaxis_inverted()
    assert flat.get_ylim()[0] > 300
    assert solid.get_zlim()[0] > 3


def test_takes_a_tensor_with_a_gradient():
    assert len(marks(draw_pose(UV.clone().requires_grad_()))) == 21


def test_pyplot_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it fails
    draw_pose_3d(XYZ).figure.canvas.draw()


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: draw_pose(XYZ), ValueError, r"uv of shape \[21, 2\].*\[21, 3\]"),
        (lambda: draw_pose(UV, COCO), ValueError, r"\[17, 2\].*COCO"),
        (lambda: draw_pose_3d(UV), ValueError, r"xyz of shape \[21, 3\]"),
        (lambda: draw_pose_3d(XYZ[None]), ValueError, r"\[1, 21, 3\]"),
        (lambda: draw_pose(UV.long()), TypeError, "floating"),
        (lambda: draw_pose(UV, visible=VISIBLE[:-1]), ValueError, r"visible of shape \[21\]"),
        (lambda: draw_pose(UV, visible=VISIBLE.float()), TypeError, "torch.bool, got torch.float"),
        (lambda: draw_pose_3d(XYZ, ax=Figure().add_subplot()), ValueError, "projection='3d'"),
        (lambda: draw_poses({}), ValueError, "at least one pose"),
        (lambda: draw_poses({"a": UV, "b": XYZ}), ValueError, r"b of shape \[21, 2\]"),
        (lambda: draw_poses({"a": UV[:, :1]}), ValueError, r"a of shape \[J, 2\] or \[J, 3\]"),
        (lambda: draw_poses({"a": [1.0]}), ValueError, r"got \[\]"),
    ],
)
def test_refuses(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
