import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgraph import HAND
from handgraph.datasets import NARROW
from handgraph.datasets.objects import Objects, object_entry, sample_objects
from handgraph.datasets.occlusion import (
    RADII,
    Boxes,
    Capsules,
    box_entry,
    capsule_entry,
    hand_capsules,
    hand_surfaces,
    view_rays,
)
from handgraph.datasets.scene import HandModel, sample_scene
from handgraph.datasets.simulator import look

MODEL = HandModel(**NARROW)
AHEAD = np.array([[0.0, 0.0, 1.0]])


def capsule_distance(point, start, end, radius):
    along = end - start
    share = (((point - start) * along).sum(-1) / (along * along).sum(-1)).clip(0, 1)
    return np.linalg.norm(point - start - share[..., None] * along, axis=-1) - radius


def box_distance(point, centre, axes, half):
    outside = np.abs(np.einsum("...ki,...k->...i", axes, point - centre)) - half
    return np.linalg.norm(outside.clip(0, None), axis=-1) + outside.max(-1).clip(None, 0)


def march(ray, distance, reach=3.0):
    """March along a ray without crossing a surface; return the distance and the surface index."""
    travelled = 0.0
    while travelled < reach:
        free = distance(travelled * ray)
        if free.min() < 1e-7:
            return travelled, int(free.argmin())
        travelled += free.min()
    return np.inf, None


def marched(rays, distance, surfaces):
    """Return the entry distance of each ray into each surface, ``[J, C]``."""
    each = [[part[[i]] for part in surfaces] for i in range(len(surfaces[0]))]
    return [[march(ray, lambda p, one=one: distance(p, *one))[0] for one in each] for ray in rays]


def test_capsule_entry_equals_a_ray_marcher():
    rng = np.random.default_rng(0)
    rays = view_rays(rng.normal(size=(40, 3)) * 0.4 + [0, 0, 1])
    start, end = (rng.normal(size=(10, 3)) * 0.3 + [0, 0, 1.3] for _ in range(2))
    capsules = Capsules(start, end, rng.uniform(0.05, 0.25, 10))
    assert (capsule_distance(np.zeros(3), *capsules) > 0).all()
    entry = capsule_entry(rays, capsules)
    assert 50 < np.isfinite(entry).sum() < 350
    np.testing.assert_allclose(entry, marched(rays, capsule_distance, capsules), atol=1e-3)


def test_box_entry_equals_a_ray_marcher():
    rng = np.random.default_rng(0)
    rays = view_rays(rng.normal(size=(40, 3)) * 0.4 + [0, 0, 1])
    axes = np.linalg.qr(rng.normal(size=(10, 3, 3)))[0]
    boxes = Boxes(
        rng.normal(size=(10, 3)) * 0.3 + [0, 0, 1.5], axes, rng.uniform(0.05, 0.4, (10, 3))
    )
    entry = box_entry(rays, boxes)
    assert 30 < np.isfinite(entry).sum() < 350
    np.testing.assert_allclose(entry, marched(rays, box_distance, boxes), atol=1e-3)


@given(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0.01, 0.1))
def test_entry_is_the_first_point_on_the_surface(x, y, radius):
    ray = view_rays(np.array([[x, y, 1.0]]))
    capsule = Capsules(
        np.array([[-0.1, 0.02, 0.5]]), np.array([[0.1, -0.05, 0.6]]), np.array([radius])
    )
    entry = capsule_entry(ray, capsule)[0, 0]
    if np.isfinite(entry):
        assert capsule_distance(entry * ray, *capsule).item() == pytest.approx(0, abs=1e-9)
    before = np.linspace(0, min(entry, 2.0), 50, endpoint=False)[:, None]
    assert capsule_distance(before * ray, *capsule).min() > 0


def test_a_ray_along_a_capsule_enters_through_its_round_end():
    capsule = Capsules(np.array([[0, 0, 2.0]]), np.array([[0, 0, 1.0]]), np.array([0.25]))
    assert capsule_entry(AHEAD, capsule)[0, 0] == pytest.approx(0.75)


def test_a_ray_along_a_face_enters_a_box():
    box = Boxes(np.array([[0.0, 0.0, 2.0]]), np.eye(3)[None], np.full((1, 3), 0.5))
    assert box_entry(AHEAD, box).item() == 1.5
    assert box_entry(np.array([[0.0, 1.0, 0.0]]), box).item() == np.inf


def test_capsules_behind_the_camera_are_not_hit():
    capsule = Capsules(np.array([[-1.0, 0, -2]]), np.array([[1.0, 0, -2]]), np.array([0.5]))
    box = Boxes(np.array([[0.0, 0.0, -2.0]]), np.eye(3)[None], np.full((1, 3), 0.5))
    assert capsule_entry(AHEAD, capsule).item() == np.inf
    assert box_entry(AHEAD, box).item() == np.inf


def test_any_leading_dimensions_and_strides():
    scene = sample_scene(np.random.default_rng(0), 6, 256, MODEL)
    rays, capsules = view_rays(scene.hands.xyz), hand_capsules(scene.hands.xyz, scene.hands.scale)
    entry = capsule_entry(rays, capsules)
    shaped = capsule_entry(
        np.asfortranarray(rays.reshape(2, 3, 21, 3)),
        Capsules(*(part.reshape(2, 3, *part.shape[1:]) for part in capsules)),
    )
    np.testing.assert_array_equal(shaped.reshape(entry.shape), entry)
    np.testing.assert_array_equal(
        capsule_entry(rays[2], Capsules(*(p[2] for p in capsules))), entry[2]
    )


def test_capsules_follow_the_bones():
    xyz = np.arange(63.0).reshape(21, 3)
    capsules = hand_capsules(xyz, np.array(2.0))
    bone = HAND.bones[1].tolist().index(HAND.index("ring_dip"))
    np.testing.assert_array_equal(capsules.start[bone], xyz[HAND.index("ring_pip")])
    np.testing.assert_array_equal(capsules.end[bone], xyz[HAND.index("ring_dip")])
    assert capsules.radius[bone] == 2e-3 * RADII[3, 2]
    assert RADII[:, 0].min() >= 12
    assert RADII[:, 0].max() <= 14
    assert RADII[:, 1:].min() >= 7
    assert RADII[:, 1:].max() <= 13


def test_joint_is_visible_from_its_own_side():
    """From the back, a flat hand shows all joints; from the fingertips, the bases are hidden."""
    flat = np.zeros((21, 3))
    for column, finger in enumerate(("thumb", "index", "middle", "ring", "pinky")):
        row = np.arange(4)
        across = np.full(4, 0.04 * column - 0.08)
        flat[HAND.select(finger)] = np.stack([across, 0.05 + 0.03 * row, 0 * row], axis=-1)
    own, other = hand_surfaces(flat + np.array([0, 0, 0.5]), np.ones(()))
    assert (own <= other).all()
    own, other = hand_surfaces(flat[:, [0, 2, 1]] * [1, 1, -1] + [0, 0, 0.8], np.ones(()))
    seen = dict(zip(HAND.joints, own <= other, strict=True))
    middle = [bool(seen[f"middle_{level}"]) for level in ("mcp", "pip", "dip", "tip")]
    assert middle == [False, False, True, True]


def test_visibility_equals_a_ray_marcher_over_hand_and_object():
    scene = sample_scene(np.random.default_rng(5), 30, 256, MODEL)
    severe = np.arange(30) % 2 == 0
    view, accepted = look(scene, severe, np.ones(30, dtype=bool), 256)
    for row in np.flatnonzero(accepted)[:6]:
        views = [slow_view(scene, row, which) for which in range(scene.sight.entry.shape[1])]
        fits = [depth for seen, depth in views if (seen == view.visible[row]).all()]
        assert any(np.allclose(depth, view.surface[row], atol=1e-4) for depth in fits)


def slow_view(scene, row, which):
    """Return visibility behind one object of a scene, and the depth of the first surface."""
    hand = [part[row] for part in hand_capsules(scene.hands.xyz, scene.hands.scale)]
    is_box = scene.objects.is_box[row, which]
    shape = scene.objects.boxes if is_box else scene.objects.capsules
    parts = [part[row, [which]] for part in shape]
    distance = box_distance if is_box else capsule_distance
    rays = view_rays(scene.hands.xyz[row])
    hits = [
        march(ray, lambda p: np.concatenate([capsule_distance(p, *hand), distance(p, *parts)]))
        for ray in rays
    ]
    num_bones = HAND.bones.shape[1]
    seen = [
        surface < num_bones and joint in HAND.bones[:, surface].tolist()
        for joint, (_, surface) in enumerate(hits)
    ]
    return np.array(seen), np.array([travelled for travelled, _ in hits]) * rays[:, 2]


def test_objects_lie_in_front_of_the_hand():
    scene = sample_scene(np.random.default_rng(0), 200, 256, MODEL)
    objects = sample_objects(np.random.default_rng(1), scene.hands.xyz, 4)
    assert objects.is_box.mean() == pytest.approx(0.5, abs=0.06)
    corners = np.linalg.norm(objects.boxes.centre, axis=-1)
    assert (corners < np.linalg.norm(scene.hands.xyz, axis=-1).max(axis=1)[:, None]).all()
    lengths = np.linalg.norm(objects.capsules.end - objects.capsules.start, axis=-1)
    assert lengths.min() >= 0.012
    assert lengths.max() <= 0.2
    assert objects.boxes.half.max() <= 0.08


def test_an_object_is_a_box_or_a_capsule():
    capsules = Capsules(
        np.array([[0, 0, 1.0]] * 2), np.array([[0, 1, 1.0]] * 2), np.array([0.1] * 2)
    )
    boxes = Boxes(np.array([[0, 0, 2.0]] * 2), np.stack([np.eye(3)] * 2), np.full((2, 3), 0.5))
    entry = object_entry(AHEAD, Objects(np.array([True, False]), boxes, capsules))
    np.testing.assert_allclose(entry, [[1.5, 0.9]])


def test_one_object_of_each_row_is_picked():
    xyz = sample_scene(np.random.default_rng(0), 5, 256, MODEL).hands.xyz
    objects = sample_objects(np.random.default_rng(1), xyz, 4)
    chosen = np.array([3, 0, 1, 1, 2])
    picked = objects.pick(chosen)
    for row, which in enumerate(chosen):
        assert picked.is_box[row] == objects.is_box[row, which]
        for one, many in zip(
            (*picked.boxes, *picked.capsules), (*objects.boxes, *objects.capsules), strict=True
        ):
            np.testing.assert_array_equal(one[row], many[row, which])
    np.testing.assert_array_equal(objects.pick(2).is_box, objects.is_box[:, 2])
