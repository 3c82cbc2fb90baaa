import numpy as np
import pytest
import torch

from handgraph.datasets import NARROW, HandView
from handgraph.datasets.camera import Cameras
from handgraph.datasets.scene import (
    MIN_DISTANCE,
    HandModel,
    place_in_image,
    sample_hands,
    sample_scene,
)
from handgraph.datasets.simulator import MIN_VISIBLE, look
from handgraph.geometry import project

MODEL = HandModel(**NARROW)


def cameras(number, size=256, focal=500.0):
    return Cameras(size, np.full(number, focal))


def views(severe, with_object, num_scenes=300, seed=0):
    scene = sample_scene(np.random.default_rng(seed), num_scenes, 256, MODEL)
    flags = (np.full(num_scenes, flag) for flag in (severe, with_object))
    view, accepted = look(scene, *flags, 256)
    return scene, view, accepted


def test_camera_projects_as_geometry_does():
    xyz = sample_hands(np.random.default_rng(0), 5, 256, MODEL).xyz
    expected = project(torch.from_numpy(xyz), torch.from_numpy(cameras(5).matrix()))
    np.testing.assert_allclose(cameras(5).project(xyz), expected.numpy(), rtol=1e-12)


def test_the_principal_point_is_the_image_centre():
    assert Cameras(5, np.array([100.0])).matrix()[0, 0, 2] == 2.0  # the middle of five pixels


@pytest.mark.parametrize(("size", "focal"), [(256, 500.0), (64, 125.0), (320, 2000.0), (256, 30.0)])
def test_all_joints_lie_in_the_image_and_the_hand_fills_it(size, focal):
    model = MODEL._replace(view=HandView(focal=(focal / size,)))
    xyz = sample_hands(np.random.default_rng(0), 2000, size, model).xyz
    uv = cameras(2000, size, focal).project(xyz)
    assert uv.min() >= -0.5
    assert uv.max() <= size - 0.5
    assert xyz[..., 2].min() >= MIN_DISTANCE - 1e-9
    side = np.ptp(uv, axis=1).max(axis=-1) / size
    far = xyz[..., 2].min(axis=1) > MIN_DISTANCE + 1e-6
    assert ((side[far] > 0.599) & (side[far] < 0.801)).all()
    assert (side < 0.801).all()


def test_placement_meets_fill_and_jitter():
    xyz = sample_hands(np.random.default_rng(0), 200, 256, MODEL).xyz
    fill, jitter = np.full(200, 0.4), np.tile([0.1, -0.2], (200, 1))
    uv = cameras(200).project(place_in_image(xyz, cameras(200), fill, jitter))
    low, high = uv.min(axis=1), uv.max(axis=1)
    np.testing.assert_allclose((high - low).max(axis=-1) / 256, 0.4, atol=1e-3)
    np.testing.assert_allclose((high + low) / 2 - 127.5, 256 * jitter, atol=0.3)


def test_placement_moves_without_turning():
    xyz = sample_hands(np.random.default_rng(0), 3, 256, MODEL).xyz
    moved = place_in_image(xyz, cameras(3), np.full(3, 0.5), np.zeros((3, 2)))
    np.testing.assert_allclose(np.diff(moved, axis=1), np.diff(xyz, axis=1), atol=1e-12)


def test_severe_images_are_matched():
    scene, view, accepted = views(severe=True, with_object=True)
    assert 0.7 < accepted.mean() < 0.95
    alone = scene.sight.own <= scene.sight.other
    hidden_by_object = (
        view.surface < (scene.sight.own * scene.hands.xyz[..., 2] / norm(scene.hands.xyz)) - 1e-12
    )
    assert (alone[accepted].sum(axis=1) >= 11).all()
    assert (hidden_by_object | ~alone)[accepted].sum(axis=1).min() >= 11
    assert view.visible[accepted].sum(axis=1).max() <= 10
    assert view.visible[accepted].sum(axis=1).min() >= 1
    assert not (view.visible & ~alone).any()


def test_other_images_show_at_least_eleven_joints():
    _, view, accepted = views(severe=False, with_object=True)
    assert view.visible[accepted].sum(axis=1).min() == MIN_VISIBLE == 11


def test_without_an_object_the_hand_alone_decides():
    scene, view, accepted = views(severe=False, with_object=False)
    np.testing.assert_array_equal(view.visible, scene.sight.own <= scene.sight.other)
    np.testing.assert_array_equal(accepted, view.visible.sum(axis=1) >= 11)
    assert 0.85 < accepted.mean() < 0.97


def test_joints_outside_the_image_are_hidden():
    scene = sample_scene(np.random.default_rng(0), 50, 256, MODEL)
    flags = np.zeros((2, 50), dtype=bool)
    small = cameras(50, 128)
    view, _ = look(scene, *flags, 128)
    outside = (np.abs(small.project(scene.hands.xyz) - 63.5) > 64).any(axis=-1)
    assert outside.sum() > 50
    np.testing.assert_array_equal(view.visible, (scene.sight.own <= scene.sight.other) & ~outside)


def norm(xyz):
    return np.linalg.norm(xyz, axis=-1)
