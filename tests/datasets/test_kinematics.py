import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from handgraph import HAND, RHD
from handgraph.datasets.hand_pose import HandPose
from handgraph.datasets.hand_shape import HandShape
from handgraph.datasets.kinematics import (
    HandAngles,
    finger_hinges,
    forward_kinematics,
    sample_rotations,
)
from handgraph.skeletons import FINGERS

NARROW, MEAN = HandShape.narrow(), HandShape.narrow().mean()
BASES, BONES = 1e3 * MEAN.bases, 1e3 * MEAN.lengths
FRAMES = MEAN.frames
POSE = HandPose.narrow()
LIMITS = POSE.limits()
RHD_FILE = Path(__file__).parents[3] / "shared" / "data" / "rhd_sample" / "test_rhd.json"


def bent(joint, degrees, finger="middle"):
    flexion = np.zeros((5, 3))
    flexion[FINGERS.index(finger), ["mcp", "pip", "dip"].index(joint)] = degrees
    return forward_kinematics(HandAngles(flexion, np.zeros(5)), MEAN)


def hands(num_hands, seed=0):
    rng = np.random.default_rng(seed)
    angles, bones = POSE.sample(rng, num_hands), NARROW.sample(rng, num_hands)
    return angles, bones, forward_kinematics(angles, bones)


def measured_angles(xyz):
    """Measure flexion and abduction in degrees from joints only, with the palm as the frame."""
    wrist, middle, index = (
        xyz[:, HAND.index(name)] for name in ("wrist", "middle_mcp", "index_mcp")
    )
    distal = (middle - wrist) / np.linalg.norm(middle - wrist, axis=-1, keepdims=True)
    side = index - wrist
    side = side - (side * distal).sum(-1, keepdims=True) * distal
    side = side / np.linalg.norm(side, axis=-1, keepdims=True)
    tilt = np.arctan2(BASES[1, 2], BASES[1, 0])  # the index finger's base lies palmar of the plane
    normal = np.cross(side, distal)
    radial, palmar = (
        np.cos(tilt) * side - np.sin(tilt) * normal,
        np.sin(tilt) * side + np.cos(tilt) * normal,
    )
    frame = np.stack([radial, distal, palmar], axis=-1)
    joints = np.stack([xyz[:, HAND.select(finger)] for finger in FINGERS], axis=1)
    bones = np.diff(joints, axis=2)
    bones = bones / np.linalg.norm(bones, axis=-1, keepdims=True)
    local = np.einsum("fai,nka,nfbk->nfbi", FRAMES, frame, bones)
    first = np.degrees(np.arcsin(local[:, :, 0, 2]))
    abduction = np.degrees(np.arctan2(local[:, :, 0, 0], local[:, :, 0, 1]))
    turn = np.cross(bones[:, :, :-1], bones[:, :, 1:])
    axes = np.einsum("nkj,fji->nfki", frame, FRAMES)[..., 0]
    sign = np.sign((turn * axes[:, :, None]).sum(-1))
    later = sign * np.degrees(np.arccos((bones[:, :, :-1] * bones[:, :, 1:]).sum(-1).clip(-1, 1)))
    return np.concatenate([first[..., None], later], axis=-1), abduction


def test_a_flat_hand_by_hand():
    xyz = bent("mcp", 0.0)
    fan = np.radians(9.0)  # the pinky points away from the thumb
    tip = np.array([-36 - 75 * np.sin(fan), 74 + 75 * np.cos(fan), 5]) / 1e3
    np.testing.assert_allclose(xyz[HAND.index("pinky_tip")], tip, atol=1e-12)
    np.testing.assert_allclose(xyz[HAND.index("wrist")], 0.0, atol=0)
    np.testing.assert_allclose(xyz[HAND.index("thumb_mcp")], BASES[0] / 1e3, atol=0)


@pytest.mark.parametrize(
    ("joint", "expected"),
    [("mcp", [0, 93, 100]), ("pip", [0, 93 + 47, 53]), ("dip", [0, 93 + 47 + 30, 23])],
)
def test_a_right_angle_turns_the_rest_of_the_finger_into_the_palm(joint, expected):
    np.testing.assert_allclose(bent(joint, 90.0)[HAND.index("middle_tip")] * 1e3, expected)


def test_positive_abduction_moves_toward_the_thumb():
    angles = HandAngles(np.zeros((5, 3)), np.full(5, 10.0))
    tip = forward_kinematics(angles, MEAN)[HAND.index("middle_tip")] * 1e3
    np.testing.assert_allclose(
        tip, [100 * np.sin(np.radians(10)), 93 + 100 * np.cos(np.radians(10)), 0]
    )


def test_kinematics_equal_composed_rotations():
    angles, bones, xyz = hands(20)
    for hand in range(20):
        for finger, name in enumerate(FINGERS):
            turn = Rotation.from_matrix(FRAMES[finger])
            turn = turn * Rotation.from_euler("z", -angles.abduction[hand, finger], degrees=True)
            point = bones.bases[hand, finger]
            for bone in range(3):
                flexion = angles.flexion[hand, finger, bone]
                turn = turn * Rotation.from_euler("x", flexion, degrees=True)
                point = point + turn.apply([0, bones.lengths[hand, finger, bone], 0])
                joint = HAND.index(f"{name}_{['pip', 'dip', 'tip'][bone]}")
                np.testing.assert_allclose(xyz[hand, joint], point, atol=1e-12)


def test_finger_frames_are_rotations():
    frames = HandShape().sample(np.random.default_rng(0), 20).frames.reshape(-1, 3, 3)
    np.testing.assert_allclose(
        frames @ frames.swapaxes(1, 2), np.tile(np.eye(3), (100, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(frames), 1.0)


def test_angles_measured_on_joints_stay_within_the_limits():
    angles, _, xyz = hands(4000)
    xyz = np.einsum("nij,nkj->nki", sample_rotations(np.random.default_rng(1), 4000), xyz)
    flexion, abduction = measured_angles(xyz)
    np.testing.assert_allclose(flexion, angles.flexion, atol=1e-4)
    assert (flexion >= LIMITS[..., 0] - 1e-4).all()
    assert (flexion <= LIMITS[..., 1] + 1e-4).all()
    clear = np.abs(flexion[..., 0]) < 89  # abduction is undefined at a right angle
    np.testing.assert_allclose(abduction[clear], angles.abduction[clear], atol=1e-3)
    assert np.abs(angles.abduction).max() <= POSE.abduction


def test_poses_use_their_range():
    flexion, abduction = POSE.sample(np.random.default_rng(0), 20000)
    span = LIMITS[..., 1] - LIMITS[..., 0]
    used = flexion.max(axis=0) - flexion.min(axis=0)
    assert (used > 0.85 * span).all()
    assert (np.ptp(abduction, axis=0) > 10).all()


def test_dip_flexion_is_coupled_to_pip_flexion():
    flexion, _ = POSE.sample(np.random.default_rng(0), 20000)
    ratio = flexion[:, 1:, 2] / flexion[:, 1:, 1]
    assert ratio.mean() == pytest.approx(0.6, abs=0.002)
    assert ratio.std() == pytest.approx(0.05, abs=0.002)
    assert ratio.min() >= 0.45
    assert ratio.max() <= 0.75


def test_curl_is_correlated_between_fingers():
    flexion, _ = POSE.sample(np.random.default_rng(0), 20000)
    correlation = np.corrcoef(flexion[:, 1:, 1].T)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlation, 0.6, atol=0.04)


def test_bent_fingers_spread_less():
    flexion, abduction = POSE.sample(np.random.default_rng(0), 20000)
    index = FINGERS.index("index")
    straight, bent_far = flexion[:, index, 0] < 10, flexion[:, index, 0] > 70
    assert abduction[bent_far, index].std() < 0.5 * abduction[straight, index].std()


def test_bone_lengths_and_their_spread():
    bones = NARROW.sample(np.random.default_rng(0), 40000)
    mm = 1e3 * bones.lengths
    np.testing.assert_allclose(mm.mean(axis=0), BONES, rtol=0.003)
    assert bones.scale.std() == pytest.approx(0.08, abs=0.001)
    single = mm / bones.scale[:, None, None] / BONES
    np.testing.assert_allclose(single.std(axis=0), 0.035, atol=0.001)
    assert np.abs(bones.scale - 1).max() <= 0.24
    assert np.abs(single - 1).max() <= 0.105
    sizes = np.linalg.norm(bones.bases, axis=-1) / np.linalg.norm(BASES / 1e3, axis=-1)
    assert (sizes / bones.scale[:, None]).std() == pytest.approx(0.035, abs=0.001)


def test_rotations_are_uniform():
    rotations = sample_rotations(np.random.default_rng(0), 40000)
    np.testing.assert_allclose(rotations.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose((rotations**2).mean(axis=0), 1 / 3, atol=0.01)
    angle = Rotation.from_matrix(rotations).magnitude()
    assert angle.mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.01)  # of the Haar measure
    np.testing.assert_allclose(np.linalg.det(rotations[:100]), 1.0)


def palm_side_of_tips(xyz):
    """Sum the fingertips' distances along (index - wrist) x (pinky - wrist)."""
    index, pinky = (xyz[HAND.index(name)] - xyz[0] for name in ("index_mcp", "pinky_mcp"))
    return ((xyz[HAND.select("TIP")] - xyz[HAND.select("MCP")]) @ np.cross(index, pinky)).sum()


def test_hands_are_right_hands():
    assert palm_side_of_tips(bent("mcp", 80.0)) > 0


@pytest.mark.skipif(not RHD_FILE.exists(), reason="no RHD samples here")
def test_genuine_right_hands_bend_the_same_way():
    for hand in json.loads(RHD_FILE.read_text())["annotations"]:
        xyz = np.array(hand["joint_cam"])[HAND.index_from(RHD).numpy()]
        assert (palm_side_of_tips(xyz) > 0) == (hand["hand_type"] == "right")


def test_fingers_bend_around_their_hinges():
    """Two bones of a finger rotate about the hinge by the right-hand rule."""
    angles, _, xyz = hands(200)
    joints = np.stack([xyz[:, HAND.select(finger)] for finger in FINGERS], axis=1)
    bones = np.diff(joints, axis=2)
    hinge = finger_hinges(angles, FRAMES)
    np.testing.assert_allclose(np.linalg.norm(hinge, axis=-1), 1.0, rtol=1e-12)
    assert np.abs(np.einsum("nfi,nfbi->nfb", hinge, bones)).max() < 1e-12
    turn = np.einsum("nfi,nfi->nf", hinge, np.cross(bones[:, :, 0], bones[:, :, 1]))
    np.testing.assert_array_equal(turn > 0, angles.flexion[..., 1] > 0)
