"""Values of each transform on simulated samples."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from handgraph import COCO, H36M, HAND, INTERHAND, Skeleton
from handgraph.datasets import SyntheticHands
from handgraph.detectors import HeatmapDetector
from handgraph.geometry import keybone_length, mirror_hand, project, relative_depth
from handgraph.transforms import (
    JitterKeypoints,
    MirrorHand,
    NormalizeKeypoints,
    RemoveJoints,
    RotateInPlane,
    SimulateOcclusion,
    sample_region,
    simulate_occlusion,
)

HANDS = SyntheticHands(40, seed=3)
PIXELS = ("uv", "uv_true", "uv_clean")
ALL = [
    JitterKeypoints(),
    MirrorHand(256),
    NormalizeKeypoints(256),
    RemoveJoints(number=3),
    RotateInPlane(),
    SimulateOcclusion(1.0),
]
RANDOM = [
    JitterKeypoints,
    lambda generator: RemoveJoints(number=3, generator=generator),
    lambda generator: RotateInPlane(generator=generator),
    lambda generator: SimulateOcclusion(1.0, generator=generator),
]


def name_of(transform):
    return type(transform).__name__


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def tensors_of(hand):
    return {name: value for name, value in hand.to_dict().items() if name != "num_nodes"}


def changed(first, second):
    """Return the names of entries that differ or are in one sample only."""
    first, second = tensors_of(first), tensors_of(second)
    both = first.keys() & second.keys()
    same = {name for name in both if torch.equal(first[name], second[name])}
    return (first.keys() | second.keys()) - same


def same(first, second):
    return not changed(first, second)


def double(hand):
    return hand.clone().apply(lambda x: x.double() if x.is_floating_point() else x)


def reprojection(hand):
    """Return the distance between projected joints and their pixel coordinates."""
    return (project(hand.xyz.unsqueeze(0), hand.K)[0] - hand.uv_true).abs().max().item()


CHANGES = {
    "JitterKeypoints": {"uv", "x"},
    "MirrorHand": {*PIXELS, "x", "xyz", "left"},  # also K, unless the principal point is the centre
    "NormalizeKeypoints": {*PIXELS, "x", "K"},
    "RemoveJoints": {"node_mask"},
    "RotateInPlane": {*PIXELS, "x", "xyz"},
    "SimulateOcclusion": {"uv", "x", "cue", "confidence", "visible"},
}


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_transform_changes_only_its_entries_in_a_copy(transform):
    hand = HANDS[1]
    before = hand.clone()
    after = transform(hand)
    assert changed(before, after) == CHANGES[name_of(transform)]
    assert same(hand, before)
    assert after.num_nodes == 21


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_features_follow_the_entries_unless_they_are_ones_own(transform):
    hand = HANDS[1].clone()
    hand.uv[3] = torch.nan  # a missing joint
    hand.x = torch.cat([hand.uv, hand.confidence], dim=-1)
    after = transform(hand)
    expected = torch.cat([after.uv, after.confidence], dim=-1)
    assert_close(after.x, expected, rtol=0, atol=0, equal_nan=True)
    hand.x = own = torch.rand(21, 4)
    assert torch.equal(transform(hand).x, own)


def test_features_are_filled_and_restored():
    hand = RemoveJoints("TIP", fill=["x"], value=0.0)(HANDS[1])
    assert torch.equal(hand.x[HAND.select("TIP")], torch.zeros(5, 3))
    normalize = NormalizeKeypoints(256)
    assert_close(normalize.inverse(normalize(HANDS[1])).x, HANDS[1].x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("transform", ALL, ids=name_of)
@pytest.mark.parametrize("kind", ["tensor", "dict"])
def test_only_a_data_is_transformed(transform, kind):
    given = HANDS[0].uv if kind == "tensor" else {"uv": HANDS[0].uv}
    with pytest.raises(TypeError, match=f"{name_of(transform)}: expected a Data, got .*to_data"):
        transform(given)


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_keeps_dtypes(transform):
    for hand in (HANDS[0], double(HANDS[0])):
        after = transform(hand)
        assert all(after[name].dtype == value.dtype for name, value in tensors_of(hand).items())


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_can_be_pickled_and_copied(transform):
    torch.manual_seed(1)
    expected = transform(HANDS[0])
    for twin in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        torch.manual_seed(1)
        assert same(twin(HANDS[0]), expected)


@pytest.mark.parametrize("make", RANDOM)
def test_seeds_repeat(make):
    ours, again, other = (make(generator=random(seed)) for seed in (0, 0, 1))
    first = [ours(hand) for hand in HANDS[:5]]
    assert all(same(a, again(hand)) for a, hand in zip(first, HANDS[:5], strict=True))
    assert not all(same(a, other(hand)) for a, hand in zip(first, HANDS[:5], strict=True))
    assert not same(ours(HANDS[0]), ours(HANDS[0]))
    torch.manual_seed(0)
    first = make(generator=None)(HANDS[0])
    torch.manual_seed(0)
    assert same(make(generator=None)(HANDS[0]), first)


@pytest.mark.parametrize("make", RANDOM)
def test_a_seed_is_no_generator(make):
    with pytest.raises(TypeError, match="expected a torch.Generator or None, got 0"):
        make(generator=0)


def test_composes():
    in_pixels = [step for step in ALL if not isinstance(step, NormalizeKeypoints)]
    hand = Compose([*in_pixels, NormalizeKeypoints(256)])(HANDS[0])
    assert set(hand.keys()) == {*HANDS[0].keys(), "node_mask"}
    assert hand.uv.abs().max() < 4


def test_geometry_holds_after_any_order_of_transforms():
    hand = double(HANDS[4])
    normalize, rotate, mirror = NormalizeKeypoints(256), RotateInPlane(40), MirrorHand(256)
    for steps in ([rotate, mirror, normalize], [mirror, normalize, rotate], [normalize, rotate]):
        after = Compose(steps)(hand)
        assert reprojection(after) < 1e-4
        torch.testing.assert_close(after.xyz[:, 2], hand.xyz[:, 2], rtol=0, atol=0)
        scale = keybone_length(after.xyz)
        torch.testing.assert_close(scale, hand.s[0], rtol=1e-6, atol=0)
        d = relative_depth(after.xyz, scale)
        torch.testing.assert_close(d, hand.d, rtol=1e-5, atol=1e-6)


def test_rotation_by_a_right_angle_is_clockwise():
    hand = HANDS[0]
    after = RotateInPlane(90)(hand)
    u, v = (hand.uv - 127.5).unbind(-1)
    torch.testing.assert_close(after.uv, torch.stack([-v, u], -1) + 127.5, rtol=0, atol=1e-3)
    x, y, z = hand.xyz.unbind(-1)
    torch.testing.assert_close(after.xyz, torch.stack([-y, x, z], -1), rtol=0, atol=1e-6)


def test_rotation_is_exact_for_any_camera():
    hand = double(HANDS[0])
    hand.K = torch.tensor([[[500.0, 7.0, 100.0], [0.0, 350.0, 90.0], [0.0, 0.0, 1.0]]]).double()
    hand.uv_true = project(hand.xyz.unsqueeze(0), hand.K)[0]
    after = RotateInPlane(33.0)(hand)
    assert reprojection(after) < 1e-9
    assert torch.equal(after.K, hand.K)


@given(angle=st.floats(-720, 720))
def test_rotating_back_gives_the_hand_back(angle):
    hand = double(HANDS[7])
    back = RotateInPlane(-angle)(RotateInPlane(angle)(hand))
    for name in (*PIXELS, "xyz"):
        torch.testing.assert_close(back[name], hand[name], rtol=1e-9, atol=1e-9)


def test_angles_are_uniform_in_their_range():
    hand = Data(K=torch.eye(3).unsqueeze(0), xyz=torch.tensor([[1.0, 0.0, 1.0]]))
    rotate = RotateInPlane((-30.0, 90.0), generator=random())
    x, y, _ = torch.stack([rotate(hand).xyz[0] for _ in range(2000)]).unbind(-1)
    angle = torch.rad2deg(torch.atan2(y, x))
    assert angle.min() > -30.01
    assert angle.max() < 90.01
    torch.testing.assert_close(
        angle.quantile(torch.tensor([0.25, 0.5, 0.75])),
        torch.tensor([0.0, 30.0, 60.0]),
        rtol=0,
        atol=5.0,
    )


def test_the_mirrored_hand_is_that_of_the_geometry():
    hand = HANDS[0]
    hand.K[0, 0, 2] = 100.0
    after = MirrorHand(256)(hand)
    xyz, K = mirror_hand(hand.xyz.unsqueeze(0), hand.K, 256)
    assert torch.equal(after.xyz, xyz[0])
    assert torch.equal(after.K, K)
    for name in PIXELS:
        torch.testing.assert_close(after[name][:, 0], 255 - hand[name][:, 0], rtol=0, atol=0)
        assert torch.equal(after[name][:, 1], hand[name][:, 1])


def test_mirroring_twice_gives_the_hand_back():
    hand = double(HANDS[2])
    mirror = MirrorHand(320)
    twice = mirror(mirror(hand))
    assert changed(hand, mirror(hand)) == {*PIXELS, "x", "xyz", "K", "left"}
    for name in (*PIXELS, "xyz", "K"):
        torch.testing.assert_close(twice[name], hand[name], rtol=1e-12, atol=1e-12)


def test_mirrors_pixels_alone():
    hand = HAND.to_data(uv=torch.zeros(21, 2))
    assert (MirrorHand(100)(hand).uv == torch.tensor([99.0, 0.0])).all()


def test_normalised_pixels_have_the_image_edges_at_one():
    uv = torch.tensor([[-0.5, 255.5], [127.5, 63.5]])
    after = NormalizeKeypoints(256)(Data(uv=uv, uv_true=uv))
    assert after.uv.tolist() == after.uv_true.tolist() == [[-1.0, 1.0], [0.0, -0.5]]


def test_normalised_cameras_project_to_normalised_pixels():
    assert reprojection(NormalizeKeypoints(256)(double(HANDS[0]))) < 1e-6


def test_normalising_can_be_undone():
    hand = double(HANDS[0])
    normalize = NormalizeKeypoints(200)
    normal = normalize(hand)
    kept = normal.clone()
    back = normalize.inverse(normal)
    assert same(normal, kept)
    for name in (*PIXELS, "K"):
        torch.testing.assert_close(back[name], hand[name], rtol=1e-12, atol=1e-12)


def test_jitter_needs_floating_point_pixels():
    with pytest.raises(TypeError, match="uv to be floating point, got torch.int64"):
        JitterKeypoints()(HAND.to_data(uv=torch.ones(21, 2, dtype=torch.long)))


def test_jitter_is_gaussian_with_the_noise_asked_for():
    hand = HAND.to_data(uv=torch.full((21, 2), 50.0))
    jitter = JitterKeypoints(2.0, generator=random())
    noise = torch.stack([jitter(hand).uv - 50.0 for _ in range(500)])
    assert noise.std() == pytest.approx(2.0, abs=0.03)
    assert noise.mean() == pytest.approx(0.0, abs=0.05)
    assert (noise.abs() < 2.0).double().mean() == pytest.approx(0.683, abs=0.01)
    assert torch.equal(JitterKeypoints(0.0)(hand).uv, hand.uv)


def test_named_joints_are_removed():
    removed = RemoveJoints(["TIP", "wrist"])(HANDS[0])
    expected = torch.ones(21, dtype=torch.bool)
    expected[[HAND.index("wrist"), *HAND.select("TIP")]] = False
    assert torch.equal(removed.node_mask, expected)
    assert removed.node_mask.dtype == torch.bool


def test_joints_are_removed_where_the_data_is():
    elsewhere = HANDS[0].clone().to("meta")
    removed = Compose([RemoveJoints("TIP", fill=["uv"]), RemoveJoints("thumb")])(elsewhere)
    assert {removed.node_mask.device.type, removed.uv.device.type} == {"meta"}
    bare = RemoveJoints("TIP")(Data(num_nodes=21))
    assert bare.node_mask.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_mask_that_is_not_bool_is_refused(dtype):
    with pytest.raises(TypeError, match=r"node_mask as torch.bool, got"):
        RemoveJoints("TIP")(HAND.to_data(node_mask=torch.ones(21, dtype=dtype)))


def test_removals_add_up():
    removed = Compose([RemoveJoints("TIP"), RemoveJoints("thumb")])(HANDS[0])
    assert (~removed.node_mask).nonzero().flatten().tolist() == HAND.select(["TIP", "thumb"])


def test_random_removals_have_their_probability_and_spare_the_wrist():
    remove = RemoveJoints(probability=0.25, generator=random())
    keep = torch.stack([remove(HANDS[0]).node_mask for _ in range(2000)])
    assert keep[:, HAND.index("wrist")].all()
    others = torch.arange(21) != HAND.index("wrist")
    torch.testing.assert_close(
        keep[:, others].double().mean(0), torch.full((20,), 0.75).double(), rtol=0, atol=0.04
    )
    assert keep[:, others].sum(-1).double().std() == pytest.approx(math.sqrt(20 * 3 / 16), abs=0.1)


def test_a_number_of_joints_is_removed_all_equally_likely():
    remove = RemoveJoints(HAND.joints, number=7, generator=random())
    keep = torch.stack([remove(HANDS[0]).node_mask for _ in range(2000)])
    assert (keep.sum(-1) == 14).all()
    torch.testing.assert_close(
        keep.double().mean(0), torch.full((21,), 2 / 3).double(), rtol=0, atol=0.04
    )


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_removed_joints_have_the_fill_value(value):
    hand = HANDS[0]
    removed = RemoveJoints("TIP", fill=["uv", "d"], value=value)(hand)
    gone = HAND.select("TIP")
    for name in ("uv", "d"):
        torch.testing.assert_close(
            removed[name][gone],
            torch.full_like(hand[name][gone], value),
            equal_nan=True,
            rtol=0,
            atol=0,
        )
        assert torch.equal(removed[name][removed.node_mask], hand[name][removed.node_mask])
    assert torch.equal(removed.cue, hand.cue)


def test_other_skeletons():
    pair = Skeleton("pair", ["a", "b"], [("a", "b")])
    removed = RemoveJoints("a", skeleton=pair)(pair.to_data(uv=torch.zeros(2, 2)))
    assert removed.node_mask.tolist() == [False, True]
    seen = SimulateOcclusion(1.0, (0, 0), skeleton=pair)(pair.to_data(uv=torch.rand(2, 2)))
    assert seen.visible.sum() == 1


def test_the_transform_is_the_two_functions():
    where = {"probability": 0.9, "radius": (0.0, 5.0), "hops": 2}
    how = {"detector": HeatmapDetector(noise=2.0), "image_size": 128}
    hide, source = SimulateOcclusion(**where, **how, generator=random()), random()
    for hand in HANDS:
        hidden = sample_region(hand.uv, **where, generator=source)
        expected = simulate_occlusion(
            hand.uv, hand.cue, hand.confidence, hidden, hand.visible, **how, generator=source
        )
        seen = hide(hand)
        for name, value in expected._asdict().items():
            assert torch.equal(seen[name], value)


def test_occludes_positions_alone():
    seen = SimulateOcclusion(1.0)(HAND.to_data(uv=200 * torch.rand(21, 2)))
    assert set(seen.keys()) == {"edge_index", "num_nodes", "uv", "visible"}
    assert not seen.visible.all()


@pytest.mark.parametrize(
    ("transform", "names", "message"),
    [
        (JitterKeypoints(), ["xyz"], "JitterKeypoints needs uv; this Data has xyz"),
        (MirrorHand(256), ["xyz"], "MirrorHand needs K and xyz; this Data has xyz"),
        (MirrorHand(256), ["uv", "xyz"], "MirrorHand needs K; this Data has uv, xyz"),
        (MirrorHand(256), ["cue"], "MirrorHand needs K and xyz; this Data has cue"),
        (NormalizeKeypoints(256), ["K"], "NormalizeKeypoints needs uv; this Data has K"),
        (RotateInPlane(), ["uv", "xyz"], "RotateInPlane needs K; this Data has uv, xyz"),
        (RotateInPlane(), ["K"], "RotateInPlane needs K and uv or xyz; this Data has K"),
        (SimulateOcclusion(), ["cue"], "SimulateOcclusion needs uv; this Data has cue"),
        (RemoveJoints(fill=["uv"]), ["cue"], "RemoveJoints needs uv; this Data has cue"),
        (RotateInPlane(), [], "RotateInPlane needs K and uv or xyz; this Data has nothing"),
    ],
)
def test_errors_name_the_missing_entry(transform, names, message):
    data = Data(**{name: HANDS[0][name] for name in names})
    with pytest.raises(ValueError, match=f"^{message}$"):
        transform(data)


@pytest.mark.parametrize("transform", [MirrorHand(256), RotateInPlane(), NormalizeKeypoints(256)])
def test_a_batch_is_refused(transform):
    with pytest.raises(ValueError, match=r"K of shape \[1, 3, 3\] \(one sample, no batch\)"):
        transform(Batch.from_data_list([HANDS[0], HANDS[1]]))


@pytest.mark.parametrize("transform", [SimulateOcclusion(), RemoveJoints("TIP")])
def test_another_number_of_joints_is_refused(transform):
    with pytest.raises(ValueError, match="21 joints of skeleton 'HAND', got 42"):
        transform(Batch.from_data_list([HANDS[0], HANDS[1]]))


def test_a_singular_camera_is_refused():
    hand = HANDS[0]
    hand.K = torch.zeros(1, 3, 3)
    with pytest.raises(ValueError, match="K that can be inverted"):
        RotateInPlane()(hand)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: JitterKeypoints(-1.0), ValueError, "noise to be finite and not negative, got -1"),
        (lambda: JitterKeypoints(math.nan), ValueError, "noise to be finite"),
        (lambda: MirrorHand(0), ValueError, "width to be positive"),
        (lambda: NormalizeKeypoints(-2), ValueError, "image_size to be positive"),
        (lambda: RemoveJoints("toe"), ValueError, "HAND has no joint 'toe'"),
        (lambda: RemoveJoints(probability=1.5), ValueError, "from 0 to 1, got 1.5"),
        (lambda: RemoveJoints("TIP", number=6), ValueError, "cannot remove 6 of 5 joints"),
        (lambda: RemoveJoints("TIP", number=-1), ValueError, "cannot remove -1 of 5 joints"),
        (lambda: RemoveJoints(number=2.5), TypeError, "number as int, got float"),
        (lambda: RemoveJoints(5), TypeError, "HAND: expected names of joints or groups, got 5"),
        (lambda: RemoveJoints(skeleton="COCO"), TypeError, "a Skeleton, such as HAND, got str"),
        (lambda: RemoveJoints(fill="uv"), TypeError, "a list of names, got 'uv'"),
        (lambda: RotateInPlane(math.inf), ValueError, "angle or .* got inf"),
        (lambda: RotateInPlane((10.0, 5.0)), ValueError, "angle or .* got .10.0, 5.0"),
        (lambda: SimulateOcclusion(2.0), ValueError, "from 0 to 1, got 2"),
        (lambda: SimulateOcclusion(radius=(3.0, 1.0)), ValueError, "expected radius as"),
        (lambda: SimulateOcclusion(image_size=0), ValueError, "image_size to be positive"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_errors_name_entries_that_cannot_be_filled():
    with pytest.raises(TypeError, match="cannot fill visible of torch.bool"):
        RemoveJoints("TIP", fill=["visible"])(HANDS[0])
    with pytest.raises(ValueError, match=r"K of shape \[21, \*\], got \[1, 3, 3\]"):
        RemoveJoints("TIP", fill=["K"])(HANDS[0])


def body():
    """Return a COCO pose in which all joints differ."""
    uv = torch.arange(34.0).view(17, 2)
    return Data(uv=uv, confidence=torch.arange(17.0).view(17, 1) / 17, visible=uv[:, 0] > 9)


def test_left_and_right_joints_change_places():
    before = body()
    hand = MirrorHand(256, COCO)(before)
    left, right = COCO.index("left_shoulder"), COCO.index("right_shoulder")
    assert hand.uv[right, 0] == 255 - before.uv[left, 0]
    for name in ("confidence", "visible"):
        assert torch.equal(hand[name], before[name][COCO.swap_sides()])
    twice = MirrorHand(256, COCO)(hand)
    assert torch.equal(twice.uv, before.uv)


def test_all_rows_of_joints_change_places():
    """``RemoveJoints`` adds ``node_mask``, ``score`` is custom, and ``label`` is not per joint."""
    before = COCO.to_data(
        uv=torch.rand(17, 2), score=torch.arange(17), x=torch.rand(17, 5), label=torch.tensor([3])
    )
    before = RemoveJoints("left_arm", skeleton=COCO)(before)
    hand = MirrorHand(256, COCO)(before)
    lost = [COCO.joints[i] for i in (~hand.node_mask).nonzero().flatten()]
    assert lost == ["right_shoulder", "right_elbow", "right_wrist"]
    order = COCO.swap_sides()
    assert hand.score.tolist() == order.tolist()
    assert torch.equal(hand.x, before.x[order])
    assert hand.label.tolist() == [3]
    assert torch.equal(hand.edge_index, before.edge_index)
    two = Skeleton("two", ("left", "right"), [("left", "right")])
    assert torch.equal(
        MirrorHand(9, two)(two.to_data(uv=torch.rand(2, 2))).edge_index, two.edge_index
    )


def test_joints_of_another_skeleton_are_not_mirrored():
    with pytest.raises(ValueError, match=r"21 joints of HAND \(give skeleton=... for others\)"):
        MirrorHand(256)(body())


@pytest.mark.parametrize("skeleton", [HAND, COCO, H36M, INTERHAND], ids=lambda s: s.name)
def test_sides_swapped_twice_are_as_they_were(skeleton):
    order = skeleton.swap_sides()
    assert order[order].tolist() == list(range(skeleton.num_joints))
    for joint, other in zip(skeleton.joints, order.tolist(), strict=True):
        sides = {"left", "right"} & set(joint.split("_"))
        assert (skeleton.joints[other] != joint) == bool(sides)


def test_a_side_without_the_other_is_an_error():
    one = Skeleton("one", ("left_hip", "neck"), ())
    with pytest.raises(ValueError, match="one has no right_hip"):
        one.swap_sides()


@pytest.mark.parametrize("degrees", [[-30, 30], (-30, 30), np.array([30.0])[0], 30])
def test_angles_as_python_people_pass_them(degrees):
    assert RotateInPlane(degrees).degrees[1] == 30


@pytest.mark.parametrize("xyz", [torch.ones(21, 3, dtype=torch.long), torch.ones(21, 1)])
def test_xyz_that_is_none_is_not_rotated(xyz):
    with pytest.raises((TypeError, ValueError), match="expected xyz"):
        RotateInPlane(30)(Data(xyz=xyz, K=torch.eye(3)[None]))


def test_regions_are_around_detected_joints():
    uv = 100 * torch.rand(200, 21, 2, generator=torch.Generator().manual_seed(0))
    uv[:, 3:] = torch.nan
    linked = sample_region(uv, probability=1.0, radius=(0, 0), hops=1)
    assert linked[:, :3].any(dim=1).all()
    near = sample_region(uv, probability=1.0, radius=(1e3, 1e3))
    assert near[:, :3].all()
    assert not near[:, 3:].any()
