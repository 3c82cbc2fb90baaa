"""The keypoint lifter: invariances, errors, and the pretrained model."""

from __future__ import annotations

import json
import stat
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from handgraph import COCO, H36M, HAND, RHD, Skeleton
from handgraph.datasets import HandView, SyntheticHands
from handgraph.detectors import HeatmapDetector, Missing, RegressionDetector
from handgraph.geometry import project, view_rotation
from handgraph.hub import KeypointLifter, pretrained_lifter, split_rows, to_camera
from handgraph.metrics import joint_errors, visible_mean

WRIST = HAND.index("wrist")
FOLDER = files("handgraph.hub") / "keypoint_lifter"


@pytest.fixture(scope="module")
def lifter():
    torch.manual_seed(0)
    return KeypointLifter(width=16).double().eval()


def hands(*lead, seed=0):
    generator = torch.Generator().manual_seed(seed)
    uv = 300 * torch.rand(*lead, 21, 2, generator=generator, dtype=torch.float64)
    return uv, torch.rand(*lead, 21, generator=generator, dtype=torch.float64)


# Inputs and outputs


def test_pose_is_that_of_the_net_in_the_crop_relative_to_the_wrist(lifter):
    uv, score = hands(3)
    expected = []
    for points, scores in zip(uv, score, strict=True):
        low, high = points.min(dim=0).values, points.max(dim=0).values
        x = (points - (low + high) / 2) / (1.25 * (high - low).max() / 2)
        one = torch.ones(21, 1, dtype=torch.float64)
        channels = [x, scores[:, None], 0 * one, one, 0 * one]  # without depths
        pose = lifter.net(torch.cat(channels, dim=1).flatten()).view(21, 5)[:, :3]
        expected.append(pose - pose[WRIST])
    assert_close(lifter(uv, score), torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_place_and_size_of_the_hand_play_no_part(lifter):
    uv, score = hands(4)
    moved = 0.01 * uv + torch.tensor([-70.0, 12.0], dtype=torch.float64)
    assert_close(lifter(moved, score), lifter(uv, score), rtol=1e-8, atol=1e-8)


def test_root_is_zero(lifter):
    assert (lifter(hands(4)[0])[:, WRIST] == 0).all()


def test_missing_score_equals_one_half(lifter):
    uv, score = hands(4)
    assert torch.equal(lifter(uv), lifter(uv, torch.full_like(score, 0.5)))
    assert not torch.equal(lifter(uv), lifter(uv, score))


def test_left_hand_is_the_right_hand_in_a_mirror(lifter):
    uv, score = hands(4)
    mirrored = torch.stack([639 - uv[..., 0], uv[..., 1]], dim=-1)
    pose = lifter(uv, score)
    expected = torch.stack([-pose[..., 0], pose[..., 1], pose[..., 2]], dim=-1)
    assert_close(lifter(mirrored, score, side="left"), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
def test_any_leading_dimensions(lifter, lead):
    uv, score = hands(*lead)
    pose = lifter(uv, score)
    assert pose.shape == (*lead, 21, 3)
    flat = lifter(uv.reshape(-1, 21, 2), score.reshape(-1, 21))
    assert_close(pose.reshape(-1, 21, 3), flat, rtol=1e-10, atol=1e-10)


def test_gradients_reach_the_input(lifter):
    uv, score = (x.requires_grad_() for x in hands())
    assert gradcheck(lifter, (uv, score), eps=1e-6, atol=1e-5)


def test_compiled_equals_eager(lifter):
    compiled = torch.compile(lifter, fullgraph=True, backend="aot_eager")
    uv, score = hands(2)
    assert_close(compiled(uv, score), lifter(uv, score), rtol=1e-10, atol=1e-10)


def test_other_skeletons_use_their_root():
    skeleton = Skeleton("rod", "abc", [("a", "b"), ("b", "c")], root="b")
    pose = KeypointLifter(skeleton, width=8)(torch.rand(5, 3, 2))
    assert pose.shape == (5, 3, 3)
    assert (pose[:, 1] == 0).all()
    assert pose[:, 0].abs().min() > 0


def test_network_is_residual_blocks_between_linear_layers():
    net = KeypointLifter(width=8).double().net
    x = torch.randn(5, 21 * 6, dtype=torch.float64)
    weights = dict(net.state_dict())

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def activated(x):
        centred = x - x.mean(dim=-1, keepdim=True)
        normed = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return normed / (1 + (-normed).exp())

    hidden = linear(x, "0")
    for block in (1, 2, 3):
        hidden = hidden + linear(activated(hidden), f"{block}.lin")
    assert_close(net(x), linear(activated(hidden), "6"))


# Several hypotheses


@pytest.mark.parametrize("count", [1, 2, 3])
def test_hypotheses_are_read_from_the_output(count):
    torch.manual_seed(count)
    net = KeypointLifter(width=8, hypotheses=count).double()
    uv, score = hands(5)
    net.net[-1].bias.data[-1] += 0.3  # so that hands differ in what is likeliest
    outputs = []
    net.net.register_forward_hook(lambda module, given, output: outputs.append(output))
    found = net.estimate(uv, score)
    for hand, row in enumerate(outputs[0]):
        of_joints = row[: 21 * (3 * count + 2)].view(21, 3 * count + 2)
        logits = torch.cat([torch.zeros(1, dtype=torch.float64), row[21 * (3 * count + 2) :]])
        assert_close(found.weights[hand], logits.exp() / logits.exp().sum())
        for k in range(count):
            pose = of_joints[:, 3 * k : 3 * k + 3]
            assert_close(found.hypotheses[hand, k], pose - pose[WRIST])
        assert_close(found.pose[hand], found.hypotheses[hand, logits.argmax()])
        assert_close(found.error[hand], of_joints[:, -2].exp())
        assert_close(found.visible[hand], of_joints[:, -1].sigmoid())


def test_hypotheses_of_left_hands_and_of_too_few_joints(lifter):
    net = KeypointLifter(width=8, hypotheses=2).double()
    uv, score = hands(3)
    score[1, 2:] = 0
    right, left = (
        net.estimate(uv, score),
        net.estimate(uv * uv.new_tensor([-1, 1]), score, side="left"),
    )
    mirror = uv.new_tensor([-1, 1, 1])
    assert_close(left.hypotheses, right.hypotheses * mirror, equal_nan=True)
    assert_close(left.weights, right.weights, equal_nan=True)
    assert right.hypotheses[1].isnan().all()
    assert right.weights[1].isnan().all()
    assert right.missing[1].sum() == 19


def test_no_hypothesis_is_refused():
    with pytest.raises(ValueError, match="hypotheses"):
        KeypointLifter(hypotheses=0)


# Missing joints


def some_missing(seed=0):
    """Return hands, scores and which joints are present; NaN and a score of 0 are equivalent."""
    uv, score = hands(6, seed=seed)
    there = torch.rand(6, 21, generator=torch.Generator().manual_seed(seed)) < 0.6
    there[:, :3] = True
    return uv, score, there


@pytest.mark.parametrize("value", [torch.nan, 0.0, -1e6, torch.inf, 1e300])
def test_missing_joints_have_no_influence(lifter, value):
    uv, score, there = some_missing()
    expected = lifter(uv, score.where(there, 0))
    other = uv.where(there.unsqueeze(-1), value)
    assert torch.equal(lifter(other, score.where(there, 0)), expected)
    assert expected.isfinite().all()


def test_nan_is_a_score_of_zero(lifter):
    uv, score, there = some_missing()
    by_nan = lifter(uv.where(there.unsqueeze(-1), torch.nan), score)
    assert torch.equal(by_nan, lifter(uv, score.where(there, 0)))
    assert torch.equal(lifter.missing(uv, score.where(there, 0)), ~there)
    one = uv.where(there.unsqueeze(-1), torch.nan)
    one[..., 1] = uv[..., 1]  # only u is missing
    assert torch.equal(lifter.missing(one), ~there)


def test_missing_joints_have_no_gradient(lifter):
    uv, score, there = some_missing()
    uv = uv.where(there.unsqueeze(-1), torch.nan).requires_grad_()
    score = score.requires_grad_()
    lifter(uv, score).square().sum().backward()
    assert (uv.grad[~there] == 0).all()
    assert (score.grad[~there] == 0).all()
    assert (uv.grad[there] != 0).any(dim=-1).all()


def test_crop_is_around_the_detected_joints(lifter):
    uv, score, there = some_missing()
    moved = 3 * uv + 50
    score = score.where(there, 0)
    assert_close(lifter(moved, score), lifter(uv, score), rtol=1e-8, atol=1e-8)
    K = torch.tensor([[500.0, 0, 128], [0, 500, 128], [0, 0, 1]], dtype=torch.float64)
    far = uv.where(there.unsqueeze(-1), 1e4)
    kept = view_rotation(uv[0][there[0]], K)
    assert_close(view_rotation(far[0], K, mask=there[0]), kept)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, "list"])
def test_arrays_and_lists(lifter, kind):
    uv = hands(2)[0].round()
    given = uv.tolist() if kind == "list" else uv.numpy().astype(kind)
    assert_close(lifter(given), lifter(uv))
    assert_close(lifter.float()(uv), lifter(given))
    lifter.double()


@pytest.mark.parametrize(
    "stored",
    [
        lambda uv: uv.astype(">f8"),
        lambda uv: uv[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
        lambda uv: np.broadcast_to(uv, uv.shape),  # read-only
        lambda uv: list(uv),
    ],
    ids=["big-endian", "negative strides", "read-only", "list of arrays"],
)
def test_arrays_count_by_their_numbers_and_not_by_their_memory(lifter, stored):
    uv, score = (x.numpy() for x in hands(2))
    assert torch.equal(lifter(stored(uv)), lifter(uv))
    rows = np.concatenate([uv, score[..., None]], axis=-1).astype(np.float32)
    assert all(map(torch.equal, split_rows(stored(rows)), split_rows(rows)))


def test_masked_entries_of_an_array_are_missing_joints(lifter):
    uv, _, there = some_missing()
    mask = np.broadcast_to(~there.numpy()[..., None], uv.shape)
    found = lifter.estimate(np.ma.masked_array(uv.numpy(), mask))
    expected = lifter.estimate(uv.where(there.unsqueeze(-1), torch.nan))
    assert torch.equal(found.missing, ~there)
    assert torch.equal(found.pose, expected.pose)


def test_missing_joints_compile(lifter):
    compiled = torch.compile(lifter, fullgraph=True, backend="aot_eager")
    uv, score, there = some_missing()
    uv = uv.where(there.unsqueeze(-1), torch.nan)
    assert_close(compiled(uv, score), lifter(uv, score), rtol=1e-10, atol=1e-10)


# Errors


@pytest.mark.parametrize("there", [0, 1, 2])
def test_hands_with_too_few_joints_are_nan(lifter, there):
    uv, score = hands(3)
    score[1, there:] = 0
    pose = lifter(uv, score)
    assert pose[1].isnan().all()
    assert_close(pose[[0, 2]], lifter(uv[[0, 2]], score[[0, 2]]), rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=f"at least 3 joints of a single hand, got {there}"):
        lifter(uv[1], score[1])


def test_hand_without_size_is_nan(lifter):
    uv, _ = hands(2)
    uv[0] = 7.0
    assert lifter(uv).isnan().flatten(1).all(dim=1).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"in different places, got all at \[7\.0, 7\.0\]"):
        lifter(uv[0])


@pytest.mark.parametrize("name", ["uv", "depth"])
def test_infinity_is_refused_unless_the_joint_is_missing(lifter, name):
    uv, score = hands(2)
    given = {"uv": uv, "depth": uv[..., 0].clone()}
    given[name][1, 3] = torch.inf
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers, .* got infinity"):
        lifter(score=score, **given)
    score[1, 3] = 0
    assert lifter(score=score, **given).isfinite().all()


@pytest.mark.parametrize("value", [torch.nan, -0.1, 1.1])
def test_score_that_is_no_probability_is_refused(lifter, value):
    uv, score = hands(2)
    score[1, 3] = value
    with pytest.raises(ValueError, match="score: expected probabilities"):
        lifter(uv, score)


@pytest.mark.parametrize(
    ("uv", "score", "options", "error", "message"),
    [
        (torch.ones(20, 2), None, {}, ValueError, r"\[\*, 21, 2\] for HAND, got \[20, 2\]"),
        (torch.ones(21, 3), None, {}, ValueError, r"\[\*, J, 2\]"),
        (torch.ones(21, 2).cfloat(), None, {}, TypeError, "real numbers"),
        (
            torch.rand(21, 2),
            torch.ones(21, 1),
            {},
            ValueError,
            r"score .* got \[21, 1\]: score\.squeeze\(-1\)",
        ),
        (torch.rand(21, 2), None, {"side": "both"}, ValueError, "'right' or 'left', got 'both'"),
        ([[None, None]] * 21, None, {}, TypeError, "uv as .* real numbers, got list"),
        (HAND.to_data(), None, {}, TypeError, "uv as .* real numbers, got Data"),
    ],
)
def test_invalid_arguments_raise(uv, score, options, error, message):
    with pytest.raises(error, match=message):
        KeypointLifter(width=8)(uv, score, **options)


def test_skeleton_without_a_root_is_refused():
    with pytest.raises(ValueError, match="expected a skeleton with a root, got COCO"):
        KeypointLifter(COCO)


def test_a_width_is_a_positive_integer():
    with pytest.raises(ValueError, match="width to be at least 1, got 0"):
        KeypointLifter(width=0)
    with pytest.raises(TypeError, match="width as int, got float"):
        KeypointLifter(width=2.5)


# The pretrained lifter


@pytest.fixture(scope="module")
def trained():
    return pretrained_lifter()


def test_files_are_small_and_readable():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sizes.keys() == {"README.md", "config.json", "model.safetensors"}
    assert sum(sizes.values()) < 4_000_000
    assert all(path.stat().st_mode & stat.S_IROTH for path in FOLDER.iterdir())


def test_card_and_config_agree(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    written = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert trained.about == written["about"]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for row, errors in trained.about["Errors"].items():
        assert f"| {row} | {' | '.join(errors.values())} |" in card
    for limit in trained.about["Limits"]:
        assert f"- {limit}" in card


def errors_of(trained, detector, scores):
    """Return errors in mm of the lifter and of the mean hand, over visible joints but the wrist."""
    seen = SyntheticHands(4000, seed=777, detector=detector, progress=False).tensors
    metres = seen["s"].reshape(-1, 1, 1)
    axes = view_rotation(seen["uv"], seen["K"])
    truth = (seen["xyz"] - seen["xyz"][:, [WRIST]]) @ axes.mT
    with torch.no_grad():
        pose = metres * trained(seen["uv"], seen["confidence"][..., 0] if scores else None)
    visible = seen["visible"].clone()
    visible[:, WRIST] = False
    errors = 1000 * joint_errors(pose, truth)
    control = 1000 * joint_errors(truth.mean(dim=0).expand_as(truth), truth)
    return visible_mean(errors, visible).item(), control.mean().item()


@pytest.mark.parametrize(
    ("row", "detector", "scores"),
    [
        ("heatmap detector, scores", HeatmapDetector(), True),
        ("heatmap detector, no scores", HeatmapDetector(), False),
        ("regression detector", RegressionDetector(), False),
    ],
)
def test_errors_on_fresh_hands_are_those_of_the_card(trained, row, detector, scores):
    published = float(trained.about["Errors"][row]["MPJPE mm"].split(" ")[0])
    error, control = errors_of(trained, detector, scores)
    assert error == pytest.approx(published, rel=0.05)
    assert error < control / 2


def test_pose_can_be_put_into_the_frame_of_a_camera(trained):
    """``view_rotation`` rotates poses from the lifter's axes to those of the camera."""
    view = HandView(focal=(1.2,))
    seen = SyntheticHands(2000, seed=778, view=view, progress=False).tensors
    seen = {name: values[seen["visible"].all(dim=1)] for name, values in seen.items()}
    truth = seen["xyz"] - seen["xyz"][:, [WRIST]]
    with torch.no_grad():
        pose = seen["s"].reshape(-1, 1, 1) * trained(seen["uv"])
    turned = pose @ view_rotation(seen["uv"], seen["K"])
    assert joint_errors(turned, truth).mean() < joint_errors(pose, truth).mean()


def test_other_joint_orders_are_matched_by_name(trained):
    hand = SyntheticHands(1, seed=5, progress=False)[0]
    theirs = hand.uv[RHD.index_from(HAND)]
    assert_close(trained(theirs[HAND.index_from(RHD)]), trained(hand.uv))


def test_a_trained_lifter_wants_no_gradients(trained):
    assert not any(parameter.requires_grad for parameter in trained.parameters())
    assert trained(torch.rand(21, 2)).numpy().shape == (21, 3)


def test_a_body_has_no_side():
    body = KeypointLifter(H36M)
    with pytest.raises(ValueError, match="H36M has left and right joints"):
        body(torch.rand(17, 2), side="left")


@pytest.mark.parametrize(("missing", "more"), [(1, 1.5), (3, 4.0), (6, 8.0)])
def test_errors_of_other_joints_stay_low_with_missing_joints(trained, missing, more):
    """Errors of the present joints are in mm; the lifter also estimates the missing joints."""
    seen = SyntheticHands(2000, seed=779, progress=False).tensors
    metres = seen["s"].reshape(-1, 1, 1)
    order = torch.rand(2000, 21, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    errors = []
    for there in (torch.ones(2000, 21, dtype=torch.bool), order >= missing):
        axes = view_rotation(seen["uv"], seen["K"], mask=there)
        truth = (seen["xyz"] - seen["xyz"][:, [WRIST]]) @ axes.mT
        pose = metres * trained(seen["uv"].where(there.unsqueeze(-1), torch.nan))
        errors.append(1000 * joint_errors(pose, truth))
    there = (order >= missing) & seen["visible"]
    plain, less = (visible_mean(some, there) for some in errors)
    assert less < plain + more
    assert visible_mean(errors[1], order < missing) < 60


def test_a_left_hand_compiles(lifter):
    compiled = torch.compile(lifter, fullgraph=True, backend="aot_eager")
    uv, score = hands(2)
    expected = lifter(uv, score, side="left")
    assert_close(compiled(uv, score, side="left"), expected, rtol=1e-10, atol=1e-10)


# Depths, other estimates and metres


def test_depths_count_without_their_origin_and_in_the_unit_of_the_image(lifter):
    uv, score = hands(4)
    depth = 40 * torch.randn(4, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    pose = lifter(uv, score, depth=depth)
    assert not torch.allclose(pose, lifter(uv, score))
    assert_close(lifter(uv, score, depth=depth + 7), pose, rtol=1e-8, atol=1e-8)
    assert_close(lifter(3 * uv, score, depth=3 * depth), pose, rtol=1e-8, atol=1e-8)


def test_missing_depths_have_no_influence(lifter):
    uv, score, there = some_missing()
    score = score.where(there, 0)
    depth = torch.randn(6, 21, dtype=torch.float64)
    assert torch.equal(lifter(uv, score, depth=depth.where(there, torch.nan)),
                       lifter(uv, score, depth=depth.where(there, 1e9)))  # fmt: skip
    none = torch.full_like(depth, torch.nan)
    assert torch.equal(lifter(uv, score, depth=none), lifter(uv, score))


def test_estimate_holds_the_pose_errors_and_visibility(lifter):
    uv, score, there = some_missing()
    found = lifter.estimate(uv, score.where(there, 0))
    assert torch.equal(found.pose, lifter(uv, score.where(there, 0)))
    assert torch.equal(found.missing, ~there)
    assert (found.error > 0).all()
    assert ((found.visible > 0) & (found.visible < 1)).all()
    few = score.clone()
    few[2, 2:] = 0
    assert lifter.estimate(uv, few).error[2].isnan().all()


def test_rows_are_split():
    rows = [[[1, 2, 0.5], [0, 0, 0]]]
    uv, score = split_rows(rows)
    assert uv.tolist() == [[[1, 2], [0, 0]]]
    assert score.tolist() == [[0.5, 0]]
    with pytest.raises(ValueError, match=r"rows \(u, v, score\), \[\*, J, 3\], got \[1, 2\]"):
        split_rows([[1, 2]])


@pytest.mark.parametrize("lost", [7, WRIST])
@pytest.mark.parametrize("reading", ["rays", "direct"])
def test_to_camera_restores_true_poses(lost, reading):
    """A joint is missing, or the root is missing and its position follows from the other joints."""
    seen = SyntheticHands(20, seed=3).tensors
    seen = {k: v.double() if v.is_floating_point() else v for k, v in seen.items()}
    uv = project(seen["xyz"], seen["K"])
    uv[:, lost] = torch.nan
    axes = view_rotation(uv, seen["K"], mask=~uv.isnan().any(-1))
    pose = (seen["xyz"] - seen["xyz"][:, [WRIST]]) @ axes.mT / seen["s"][:, None, None]
    known = {"keybone": seen["s"], "root_depth": seen["xyz"][:, WRIST, 2]}
    xyz = to_camera(pose, uv, seen["K"], reading=reading, **known)
    assert_close(xyz, seen["xyz"], rtol=0, atol=1e-9)
    one = to_camera(pose[0], uv[0], seen["K"][0], keybone=seen["s"][0].item(), root_depth=0.5)
    assert one[WRIST, 2] == pytest.approx(0.5)


def lifted(*lead):
    """Arguments of `to_camera`."""
    uv = hands(*lead)[0].float()
    K = torch.tensor([[300.0, 0.0, 150.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
    return {
        "pose": torch.rand(*lead, 21, 3), "uv": uv, "K": K,
        "keybone": torch.full(lead, 0.03), "root_depth": torch.full(lead, 0.5),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["keybone", "root_depth"])
@pytest.mark.parametrize(
    ("lead", "shape"), [((), (1,)), ((4,), (4, 1)), ((4,), (1,)), ((2,), (4,))]
)
def test_lengths_are_not_broadcast_over_hands(name, lead, shape):
    given = lifted(*lead) | {name: torch.full(shape, 0.3)}
    with pytest.raises(ValueError, match=f"{name} as a number or of shape"):
        to_camera(**given)


def test_lengths_are_numbers_tensors_or_arrays():
    given = lifted(4)
    expected = to_camera(**given)
    kinds = (0.03, np.float64(0.03), np.full(4, 0.03), [0.03] * 4, torch.full((4,), 0.03).double())
    for keybone in kinds:
        assert_close(to_camera(**given | {"keybone": keybone}), expected)
    with pytest.raises(TypeError, match="keybone as .* real numbers, got NoneType"):
        to_camera(**given | {"keybone": None})


@pytest.mark.parametrize("reading", ["rays", "direct"])
def test_autocast_does_not_round_the_camera(reading):
    given = lifted(4)
    expected = to_camera(**given, reading=reading)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(to_camera(**given, reading=reading), expected)


def test_a_singular_camera_gives_nan():
    xyz = to_camera(**lifted(2) | {"K": torch.zeros(3, 3)})
    assert xyz[..., :2].isnan().all()


def test_the_pose_has_the_joints_of_the_skeleton():
    with pytest.raises(ValueError, match="17 joints of H36M, got 21"):
        to_camera(**lifted(), skeleton=H36M)


def test_a_reading_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'rays' or 'direct', got 'ray'"):
        to_camera(
            torch.rand(21, 3), torch.rand(21, 2), torch.eye(3),
            keybone=1.0, root_depth=1.0, reading="ray",
        )  # fmt: skip


def test_expected_errors_are_calibrated(trained):
    """In ten bins of the expected error, the mean error on new hands is close to it."""
    detector = (HeatmapDetector(), RegressionDetector())
    seen = SyntheticHands(
        4000, seed=780, detector=detector, missing=Missing(), progress=False
    ).tensors
    found = trained.estimate(seen["uv"], seen["confidence"][..., 0])
    axes = view_rotation(seen["uv"].nan_to_num(0.0), seen["K"], mask=~found.missing)
    truth = (seen["xyz"] - seen["xyz"][:, [WRIST]]) @ axes.mT / seen["s"].reshape(-1, 1, 1)
    errors = joint_errors(found.pose, truth)[:, 1:].flatten()
    said = found.error[:, 1:].flatten()
    for some in said.argsort().chunk(10):
        assert errors[some].mean() == pytest.approx(said[some].mean().item(), rel=0.15)


def test_visibility_is_estimated_without_scores(trained):
    """On hands of a heatmap detector, AUC is far above chance; the test's error is 1 - AUC."""
    seen = SyntheticHands(4000, seed=781, progress=False).tensors
    said = trained.estimate(seen["uv"]).visible
    order = said.flatten().argsort().argsort().double()
    visible = seen["visible"].flatten()
    shown, hidden = visible.sum().item(), (~visible).sum().item()
    auc = (order[visible].sum().item() - shown * (shown - 1) / 2) / (shown * hidden)
    assert auc > 0.8


def test_depths_help(trained):
    exact = RegressionDetector(cue_bias=0, cue_scale=0, cue_noise=0.1, cue_growth=0)
    view = HandView(focal=(4.7,))
    seen = SyntheticHands(2000, seed=782, detector=exact, view=view, progress=False).tensors
    axes = view_rotation(seen["uv"], seen["K"])
    truth = (seen["xyz"] - seen["xyz"][:, [WRIST]]) @ axes.mT / seen["s"].reshape(-1, 1, 1)
    pixels = seen["s"] * seen["K"][:, 0, 0] / seen["xyz"][:, WRIST, 2]
    depth = seen["cue"][..., 0] * pixels[:, None]
    without, with_it = (
        joint_errors(trained(seen["uv"], depth=given), truth).mean() for given in (None, depth)
    )
    assert with_it < 0.85 * without
