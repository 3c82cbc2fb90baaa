"""Shapes, poses and views of simulated hands match their arguments and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from handgraph.datasets import HandPose, HandShape, HandView, SyntheticHands
from handgraph.datasets.clearance import finger_clearance, segment_distance
from handgraph.datasets.gestures import GESTURES, sample_gestures
from handgraph.datasets.hand_frame import hand_frames, measure
from handgraph.datasets.kinematics import HandAngles, forward_kinematics
from handgraph.datasets.scene import HandModel, sample_hands
from handgraph.skeletons import HAND


def rng(seed=0):
    return np.random.default_rng(seed)


def hands(number, shape, pose, seed=0):
    source = rng(seed)
    bones, angles = shape.sample(source, number), pose.sample(source, number)
    return angles, bones, forward_kinematics(angles, bones)


def test_measures_equal_the_simulated_parameters():
    """Bones, bases and angles measured on rotated joints equal the input."""
    shape = replace(HandShape.narrow(), fan=(0, 0, 0, 0), base_spread=0.0)
    angles, bones, xyz = hands(500, shape, HandPose.narrow())
    turn = Rotation.random(500, random_state=0).as_matrix()
    found = measure(np.einsum("nij,nkj->nki", turn, xyz) + 0.3)
    np.testing.assert_allclose(found.lengths, bones.lengths, atol=1e-12)
    np.testing.assert_allclose(found.bases, bones.bases, atol=1e-12)
    flat = np.abs(angles.flexion[:, 1:, 0]) < 60
    np.testing.assert_allclose(found.flexion[:, 1:, 1:], angles.flexion[:, 1:, 1:], atol=1e-4)
    np.testing.assert_allclose(
        found.flexion[:, 1:, 0][flat], angles.flexion[:, 1:, 0][flat], atol=1e-6
    )
    np.testing.assert_allclose(
        found.abduction[:, 1:][flat], angles.abduction[:, 1:][flat], atol=1e-6
    )


def test_a_backward_bend_is_negative():
    flexion = np.zeros((5, 3))
    flexion[2] = [0, -12, -7]
    xyz = forward_kinematics(HandAngles(flexion, np.zeros(5)), HandShape.narrow().mean())
    np.testing.assert_allclose(measure(xyz[None]).flexion[0, 2], [0, -12, -7], atol=1e-6)


def test_frames_are_right_handed_and_orthonormal():
    _, _, xyz = hands(50, HandShape(), HandPose())
    frames = hand_frames(xyz)
    np.testing.assert_allclose(
        frames @ frames.swapaxes(1, 2), np.tile(np.eye(3), (50, 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(frames), 1.0)


@pytest.mark.parametrize("shape", [HandShape(), HandShape.adult(), HandShape.narrow()])
def test_from_hands_recovers_the_shape(shape):
    _, _, xyz = hands(4000, replace(shape, thumb_turn=0.0), HandPose.narrow())
    found = HandShape.from_hands(xyz)
    np.testing.assert_allclose(found.bones, shape.bones, rtol=0.015)
    np.testing.assert_allclose(found.bases[1:], shape.bases[1:], atol=1.5)
    assert found.bone_spread == pytest.approx(shape.bone_spread, rel=0.1)
    assert found.size_spread == pytest.approx(shape.size_spread, rel=0.2)
    assert found.palm_spread >= 0.5 * shape.palm_spread
    np.testing.assert_allclose(np.subtract(found.fan, shape.fan), [4, 1, -2, -5], atol=2.5)


def test_one_hand_gives_a_shape_without_spread():
    _, bones, xyz = hands(1, HandShape(), HandPose())
    shape = HandShape.from_hands(xyz)
    assert shape.size_spread == shape.bone_spread == shape.palm_spread == 0.0
    np.testing.assert_allclose(shape.bones, 1e3 * bones.lengths[0], atol=0.006)
    np.testing.assert_allclose(
        shape.sample(rng(), 3).lengths, bones.lengths.repeat(3, 0), atol=1e-5
    )


def test_hands_that_are_not_whole_are_refused():
    with pytest.raises(ValueError, match=r"xyz of shape \[n, 21, 3\], got \[21, 3\]"):
        HandShape.from_hands(np.zeros((21, 3)))
    with pytest.raises(ValueError, match="leave out hands with missing joints"):
        HandShape.from_hands(np.full((2, 21, 3), np.nan))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HandShape(bones=((1, 2),)), r"bones as finite numbers, \[5, 3\], got \[1, 2\]"),
        (lambda: HandShape(bones=((0.0,) * 3,) * 5), "bones longer than 0"),
        (lambda: HandShape(bone_spread=-0.1), "bone_spread from 0 to 0.3, got -0.1"),
        (lambda: HandShape(thumb_spread=float("nan")), "thumb_spread from 0 to 30, got nan"),
        (lambda: HandPose(fingers=((10, 0), (0, 90), (0, 90))), "fingers as least and largest"),
        (lambda: HandPose(gestures=1.5), "gestures of HandPose to be from 0 to 1, got 1.5"),
        (lambda: HandPose(dip_range=(1.0, 0.5)), "dip_range as .least, largest., got 1.0, 0.5"),
        (lambda: HandView(focal=()), "focal lengths from 0.1 to 100 sides"),
        (lambda: HandView(focal=(float("nan"),)), "focal lengths from 0.1 to 100 sides"),
        (lambda: HandView(palm=(90, 0)), "palm of HandView as .least, largest., from 0 to 180"),
        (lambda: HandView(fill=(0.01, 0.5)), "fill of at least 0.05, got 0.01"),
        (lambda: HandView(shift=0.6), "shift of HandView to be from 0 to 0.5, got 0.6"),
    ],
)
def test_wrong_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_lists_and_arrays_become_tuples():
    shape = HandShape(bones=np.array(HandShape().bones), fan=[0, -7, -9, -9])
    assert shape == HandShape()
    assert hash(shape) == hash(HandShape())


def test_angles_stay_within_their_limits():
    pose = HandPose()
    flexion, _ = pose.sample(rng(), 20_000)
    low, high = np.moveaxis(pose.limits(), -1, 0)
    assert (flexion >= low).all()
    assert (flexion <= high).all()
    assert flexion[:, 1:, 1].min() < -10  # hyperextension
    ratio = (flexion[:, 1:, 2] / flexion[:, 1:, 1])[flexion[:, 1:, 1] > 40]
    assert np.quantile(ratio, 0.02) < 0.2
    assert np.quantile(ratio, 0.98) > 1.0


def test_gestures_lie_around_their_table():
    """Each finger's angles are within three standard deviations of those of some gesture."""
    flexion, abduction = sample_gestures(rng(), 2000)
    table = np.array([gesture[0] for gesture in GESTURES.values()])
    sides = np.array([gesture[1] for gesture in GESTURES.values()])
    near = np.abs(flexion[:, None] - table).max(axis=-1) <= 27.0
    near &= np.abs(abduction[:, None] - sides) <= 9.0
    assert near.any(axis=1).all()
    assert near.all(axis=-1).any(axis=1).mean() > 0.3


def test_gestures_sets_the_share_of_gestures():
    flexion = HandPose(gestures=1.0).sample(rng(), 4000).flexion
    hook = (flexion[:, 1, 0] < 30) & (flexion[:, 1, 1] > 75)
    assert hook.mean() == pytest.approx(1 / len(GESTURES), abs=0.03)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_segment_distance_is_the_least_over_both_segments(seed):
    a, b, c, d = rng(seed).standard_normal((4, 3))

    def apart(share):
        return np.linalg.norm(a + share[0] * (b - a) - c - share[1] * (d - c))

    grid = [(i, j) for i in (0.0, 0.5, 1.0) for j in (0.0, 0.5, 1.0)]
    least = min(minimize(apart, start, bounds=[(0, 1)] * 2).fun for start in grid)
    assert segment_distance(a, b, c, d) == pytest.approx(least, abs=1e-5)


def test_fingers_do_not_pass_through_each_other_or_the_palm():
    model = HandModel()
    clear = sample_hands(rng(), 3000, 256, model)
    assert finger_clearance(clear.xyz, clear.scale).min() >= model.pose.clearance
    careless = HandModel(pose=HandPose(clearance=0.0))
    free = sample_hands(rng(), 3000, 256, careless)
    share = (finger_clearance(free.xyz, free.scale) < model.pose.clearance).mean()
    assert 0.02 < share < 0.3  # share of poses that are redrawn


def test_crossed_fingers_have_no_clearance():
    flat = HandAngles(np.zeros((5, 3)), np.array([0, -30.0, 0, 0, 0]))
    bones = HandShape.narrow().mean()
    assert finger_clearance(forward_kinematics(flat, bones)[None], np.ones(1)) < 0.3
    gaps = []
    for curl in ([60, 100, 50], [90, 150, 60]):  # a fist, and fingers that end inside the palm
        flexion = np.array([[0, 0, 0], *[curl] * 4], dtype=float)
        xyz = forward_kinematics(HandAngles(flexion, np.zeros(5)), bones)
        gaps.append(finger_clearance(xyz[None], np.ones(1))[0])
    assert gaps[1] < 0.4 < gaps[0]


def test_views_keep_to_their_angles():
    for low, high in ((0.0, 30.0), (60.0, 120.0), (150.0, 180.0)):
        palms = HandView(palm=(low, high)).sample_palms(rng(), 4000)
        angle = np.degrees(np.arccos(-palms[:, 2, 2]))  # the camera looks along z
        assert angle.min() >= low - 1e-6
        assert angle.max() <= high + 1e-6
        np.testing.assert_allclose(np.linalg.det(palms), 1.0)
    cosines = -HandView(palm=(0, 179.999)).sample_palms(rng(), 40_000)[:, 2, 2]
    assert cosines.mean() == pytest.approx(0.0, abs=0.02)
    assert cosines.var() == pytest.approx(1 / 3, abs=0.01)  # uniform over the sphere


def test_hands_are_as_far_away_as_before_phones():
    depth = SyntheticHands(1000).tensors["xyz"][..., 2].mean(dim=1)
    assert depth.quantile(0.02) < 0.4
    assert 0.9 < depth.quantile(0.98) < 1.6


def test_poses_of_thumbs_and_fingers_reach_everyday_gestures():
    assert {"fist", "point", "pinch", "flat", "spread", "thumbs up"} <= GESTURES.keys()
    for name in ("flat", "spread", "fist", "thumbs up", "point", "pinch"):
        flexion, abduction = GESTURES[name]
        angles = HandAngles(np.array(flexion, dtype=float), np.array(abduction, dtype=float))
        xyz = forward_kinematics(angles, HandShape().mean())
        assert finger_clearance(xyz[None], np.ones(1)) > HandPose().clearance
        curled = np.linalg.norm(xyz[HAND.select("TIP")] - xyz[0], axis=-1)
        straight = curled[1:] > 0.145 * np.array([1.0, 1.0, 0.97, 0.85])
        assert straight.tolist() == STRAIGHT[name]


STRAIGHT = {
    "flat": [True] * 4,
    "spread": [True] * 4,
    "fist": [False] * 4,
    "thumbs up": [False] * 4,
    "point": [True, False, False, False],
    "pinch": [False, True, True, True],
}
