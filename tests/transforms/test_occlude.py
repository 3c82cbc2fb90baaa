"""Batched occlusion against the simulator and against its description."""

import numpy as np
import pytest
import torch

from handgraph import HAND, Skeleton
from handgraph.datasets import SyntheticHands
from handgraph.detectors import HeatmapDetector, Truth
from handgraph.detectors.randomness import NumpyRandom
from handgraph.transforms import sample_region, simulate_occlusion

GAP = HeatmapDetector().gap
QUIET = HeatmapDetector(noise=0.0)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def hands(num_hands=4000, share=0.6):
    """Return positions, cues, scores and joints to hide."""
    source = random(1)
    uv = 50 + 150 * torch.rand(num_hands, 21, 2, generator=source, dtype=torch.float64)
    cue = torch.randn(num_hands, 21, 1, generator=source, dtype=torch.float64)
    score = torch.rand(num_hands, 21, 1, generator=source, dtype=torch.float64)
    return uv, cue, score, torch.rand(num_hands, 21, generator=source) > share


def distances(first, second):
    return (first.unsqueeze(-2) - second.unsqueeze(-3)).norm(dim=-1)


def test_visible_joints_keep_every_bit():
    uv, cue, score, hidden = hands(50)
    seen = simulate_occlusion(uv, cue, score, hidden)
    for before, after in zip((uv, cue, score), seen[:3], strict=True):
        assert torch.equal(before[~hidden], after[~hidden])
        assert (before != after)[hidden].any(-1).all()
    assert torch.equal(seen.visible, ~hidden)


def test_hidden_joints_fall_as_the_simulators_detector_lets_them():
    uv, cue, score, hidden = hands()
    found = simulate_occlusion(
        uv, cue, score, hidden, detector=HeatmapDetector(noise=1.5), generator=random()
    ).uv
    truth = Truth(uv, cue[..., 0], cue[..., 0], ~hidden)
    twin = HeatmapDetector().observe(NumpyRandom(np.random.default_rng(0)), truth, 256).found.uv
    ours = (found - uv).norm(dim=-1)[hidden]
    theirs = (twin - uv).norm(dim=-1)[hidden]
    at = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    torch.testing.assert_close(ours.quantile(at), theirs.quantile(at), rtol=0.05, atol=0)


def test_hidden_joints_have_the_noise_too():
    quiet, noisy = (
        simulate_occlusion(*hands(), detector=HeatmapDetector(noise=noise), generator=random()).uv
        for noise in (0.0, 2.0)
    )
    noise = (noisy - quiet)[hands()[3]]
    assert noise.std() == pytest.approx(2.0, abs=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=0.02)


def test_shares_of_snapped_pulled_and_free_joints():
    uv, cue, score, hidden = hands()
    found = simulate_occlusion(uv, cue, score, hidden, detector=QUIET, generator=random()).uv
    to_visible = distances(found, uv).masked_fill(hidden.unsqueeze(-2), torch.inf)
    assert (to_visible.amin(-1)[hidden] < 1e-9).double().mean() == pytest.approx(0.35, abs=0.01)
    step, way = (found - uv).unsqueeze(-2), uv.unsqueeze(-3) - uv.unsqueeze(-2)
    cross = step[..., 0] * way[..., 1] - step[..., 1] * way[..., 0]
    share = (step * way).sum(-1) / way.square().sum(-1)
    pulled = (cross.abs() < 1e-6) & (share > 0.2) & (share < 0.6) & ~hidden.unsqueeze(-2)
    assert pulled.any(-1)[hidden].double().mean() == pytest.approx(0.35, abs=0.01)


def test_no_joint_snaps_to_a_hidden_joint():
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [200.0, 0.0]], dtype=torch.float64).expand(500, 3, 2)
    one = torch.ones(500, 3, 1, dtype=torch.float64)
    hidden = torch.tensor([True, True, False]).expand(500, 3)
    visible = torch.tensor([True, False, True]).expand(500, 3)
    seen = simulate_occlusion(uv, one, one, hidden, visible, detector=QUIET, generator=random())
    assert torch.equal(seen.visible, torch.tensor([False, False, True]).expand(500, 3))
    assert torch.equal(seen.uv[:, 1:], uv[:, 1:])
    assert not (seen.uv[:, 0] == uv[:, 1]).all(-1).any()
    assert (seen.uv[:, 0] == uv[:, 2]).all(-1).double().mean() == pytest.approx(0.35, abs=0.07)


def test_nearby_joints_are_likelier_by_their_distance():
    """Visible joints at 3 and 9 pixels have odds exp(-3 / 6) to exp(-9 / 6)."""
    uv = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    uv = uv.expand(40_000, 3, 2)
    one = torch.ones(40_000, 3, 1, dtype=torch.float64)
    hidden = torch.tensor([True, False, False]).expand(40_000, 3)
    found = simulate_occlusion(uv, one, one, hidden, detector=QUIET, generator=random()).uv[:, 0]
    near, far = ((found == uv[:, i]).all(-1).double().sum() for i in (1, 2))
    assert (near / far).item() == pytest.approx(np.exp(1.0), rel=0.05)


def test_without_a_visible_joint_all_are_put_around_their_places():
    uv = torch.full((500, 21, 2), 100.0)
    one = torch.ones(500, 21, 1)
    found = simulate_occlusion(
        uv, one, one, one[..., 0].bool(), detector=QUIET, generator=random()
    ).uv
    assert (found - uv).std() == pytest.approx(10.0, abs=0.2)


def test_errors_grow_with_the_image_but_not_the_noise():
    uv, cue, score, hidden = hands(200)
    small, large = (
        simulate_occlusion(
            k * uv, cue, score, hidden, detector=QUIET, image_size=256 * k, generator=random()
        )
        for k in (1, 3)
    )
    torch.testing.assert_close(large.uv, 3 * small.uv, rtol=1e-9, atol=1e-9)


def test_hidden_scores_follow_the_simulators_law():
    uv, cue, score, hidden = hands()
    ours = simulate_occlusion(uv, cue, score, hidden, generator=random()).confidence[hidden]
    noise = torch.randn(100_000, generator=random(), dtype=torch.float64)
    theirs = HeatmapDetector().score(noise, torch.zeros(100_000, dtype=torch.bool))
    at = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    torch.testing.assert_close(ours.quantile(at), theirs.quantile(at), rtol=0, atol=0.01)


def test_object_lies_in_front_of_all_joints_that_it_hides():
    uv, _, score, hidden = hands()
    cue = torch.linspace(-1, 1, 21, dtype=torch.float64).expand(4000, 21).unsqueeze(-1)
    seen = simulate_occlusion(uv, cue, score, hidden, generator=random()).cue[..., 0]
    nearest = cue[..., 0].masked_fill(~hidden, torch.inf).amin(-1)
    many = hidden.sum(-1) >= 4
    plate = seen.where(hidden, torch.nan).nanmean(-1)
    noise = (seen - plate.unsqueeze(-1))[many][hidden[many]]
    count = hidden[many].sum(-1).double()
    assert noise.square().sum() / (count - 1).sum() == pytest.approx(0.25, abs=0.01)
    gap = (nearest - plate)[many]
    assert gap.mean() == pytest.approx(sum(GAP) / 2, abs=0.03)
    variance = (GAP[1] - GAP[0]) ** 2 / 12 + (0.25 / count).mean().item()
    assert gap.var() == pytest.approx(variance, rel=0.1)


def test_severe_images_resemble_those_of_the_simulator():
    simulated = SyntheticHands(1000, seed=5, severe_fraction=1.0).tensors
    clean = [simulated[f"{name}_clean"] for name in ("uv", "cue", "confidence")]
    seen = simulate_occlusion(*clean, ~simulated["visible"], generator=random())
    hidden = ~simulated["visible"]
    error, twin = ((x - simulated["uv_true"]).norm(dim=-1) for x in (seen.uv, simulated["uv"]))
    assert error[hidden].median() == pytest.approx(twin[hidden].median().item(), rel=0.05)
    shift, twin = (x - simulated["cue_clean"] for x in (seen.cue, simulated["cue"]))
    assert shift[hidden].median() == pytest.approx(twin[hidden].median().item(), rel=0.2)
    score, twin = seen.confidence[hidden].mean(), simulated["confidence"][hidden].mean()
    assert score == pytest.approx(twin.item(), abs=0.01)


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_leading_dimensions(lead, dtype):
    uv, one = torch.rand(*lead, 21, 2, dtype=dtype), torch.rand(*lead, 21, 1, dtype=dtype)
    hidden = sample_region(uv, probability=1.0, radius=(0.2, 0.5))
    seen = simulate_occlusion(uv, one, one, hidden)
    assert hidden.shape == seen.visible.shape == (*lead, 21)
    assert [x.shape for x in seen[:3]] == [x.shape for x in (uv, one, one)]
    assert {x.dtype for x in seen[:3]} == {dtype}


def test_the_generator_decides():
    uv, cue, score, hidden = hands(20)
    first, again, other = (
        simulate_occlusion(uv, cue, score, hidden, generator=random(s)) for s in (3, 3, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.uv, other.uv)
    before = torch.get_rng_state()
    sample_region(uv, generator=random())
    simulate_occlusion(uv, cue, score, hidden, generator=random())
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_are_finite_without_hidden_joints():
    uv, cue, score, hidden = (x.clone() for x in hands(4))
    hidden[:2] = False
    inputs = [x.requires_grad_() for x in (uv, cue, score)]
    seen = simulate_occlusion(*inputs, hidden)
    sum(x.sum() for x in seen[:3]).backward()
    assert all(x.grad.isfinite().all() for x in inputs)
    assert (cue.grad[:2] == 1).all()


def test_nan_stays_nan_and_reaches_no_other_joint():
    uv, cue, score, hidden = hands(300)
    uv[:, 3], hidden[:, 3] = torch.nan, True
    found = simulate_occlusion(uv, cue, score, hidden).uv
    assert found[:, 3].isnan().all()
    others = torch.arange(21) != 3
    assert found[:, others].isfinite().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"uv": torch.zeros(2, 21, 3)}, ValueError, r"expected uv of shape \[\*, J, 2\]"),
        ({"uv": torch.zeros(2, 21, 2, dtype=torch.long)}, TypeError, "uv to be floating point"),
        ({"cue": torch.zeros(2, 21)}, ValueError, r"expected cue of shape \[2, 21, 1\]"),
        (
            {"confidence": torch.zeros(2, 21, 1).double()},
            TypeError,
            "confidence in the dtype of",
        ),
        ({"hidden": torch.zeros(2, 21)}, TypeError, "hidden as torch.bool"),
        ({"visible": torch.ones(21, dtype=torch.bool)}, ValueError, r"visible of shape \[2, 21\]"),
        ({"image_size": 0}, ValueError, "image_size to be positive"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {
        "uv": torch.zeros(2, 21, 2),
        "cue": torch.zeros(2, 21, 1),
        "confidence": torch.zeros(2, 21, 1),
        "hidden": torch.zeros(2, 21, dtype=torch.bool),
    }
    with pytest.raises(error, match=message):
        simulate_occlusion(**arguments | change)


def test_region_contains_the_joints_within_its_radius():
    uv = 200 * torch.rand(3000, 21, 2, dtype=torch.float64)
    hidden = sample_region(uv, probability=1.0, radius=(40.0, 40.0), generator=random())
    within = distances(uv, uv) <= 40.0  # [n, centre, J]
    found = (within == hidden.unsqueeze(1)).all(-1)
    assert found.any(-1).all()
    centre = found.double().argmax(-1)
    assert torch.bincount(centre, minlength=21).min() > 80  # 3000 / 21 = 143


def test_the_radius_is_uniform_in_its_range():
    uv = torch.zeros(40_000, 2, 2, dtype=torch.float64)
    uv[:, 1, 0] = torch.linspace(0, 1, 40_000)
    pair = Skeleton("pair", ["a", "b"], [("a", "b")])
    hidden = sample_region(uv, probability=1.0, radius=(0.25, 0.75), skeleton=pair)
    both = hidden.all(-1).double().reshape(20, -1).mean(-1)
    expected = (0.75 - (torch.arange(20) + 0.5) / 20).div(0.5).clamp(0, 1)
    torch.testing.assert_close(both, expected.double(), rtol=0, atol=0.04)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_share_of_the_samples_has_a_region(probability):
    hidden = sample_region(torch.rand(20_000, 21, 2), probability=probability)
    assert hidden.any(-1).double().mean() == pytest.approx(probability, abs=0.015)


def test_hops_count_bones():
    uv = 1e6 * torch.rand(500, 21, 2)
    hidden = sample_region(uv, probability=1.0, radius=(0, 0), hops=2)
    near = HAND.hops() <= 2
    assert (hidden.unsqueeze(1) == near).all(-1).any(-1).all()
    assert hidden[:, HAND.index("wrist")].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uv": torch.zeros(3, 20, 2)}, "the 21 joints of skeleton 'HAND', got 20"),
        ({"probability": 1.1}, "probability to be from 0 to 1, got 1.1"),
        ({"probability": float("nan")}, "probability to be from 0 to 1"),
        ({"radius": (5.0, 4.0)}, "radius as .least, largest., finite and not neg"),
        ({"radius": (-1.0, 4.0)}, "radius as .least, largest., finite and not neg"),
        (
            {"radius": (0.0, float("inf"))},
            "radius as .least, largest., finite and not neg",
        ),
        ({"hops": -1}, "hops to be at least 0, got -1"),
    ],
)
def test_wrong_regions_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        sample_region(**{"uv": torch.zeros(3, 21, 2)} | change)
