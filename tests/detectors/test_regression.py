"""The regression detector matches the statistics it is fitted to."""

import numpy as np
import pytest
import torch

from handgraph.datasets import SyntheticHands
from handgraph.detectors import RegressionDetector, Truth
from handgraph.detectors.randomness import NumpyRandom
from handgraph.transforms import sample_region, simulate_occlusion


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def hands():
    return SyntheticHands(4000, occluder_fraction=0.0, severe_fraction=0.0, progress=False).tensors


def covered(hands, k):
    """Return hands with exactly k joints hidden by a region."""
    uv = hands["uv_true"].double()
    middle = uv[:, [5]]
    order = (uv - middle).norm(dim=-1).argsort(dim=1).argsort(dim=1)
    return uv, order < k


@pytest.mark.parametrize(
    ("k", "hidden_move", "visible_move"), [(3, (12, 17), (2.5, 6)), (12, (22, 30), (8, 18))]
)
def test_moves_are_those_that_were_measured(hands, k, hidden_move, visible_move):
    uv, hidden = covered(hands, k)
    one = torch.ones(*uv.shape[:-1], 1, dtype=torch.float64)
    seen = simulate_occlusion(
        uv, one, one, hidden, detector=RegressionDetector(), generator=random()
    )
    move = seen.uv - uv
    length = move.norm(dim=-1)
    assert hidden_move[0] < length[hidden].mean() < hidden_move[1]
    assert visible_move[0] < length[~hidden].mean() < visible_move[1]
    mean = move.where(hidden.unsqueeze(-1), 0).sum(dim=1).norm(dim=-1) / k
    together = mean.mean() / length[hidden].mean()
    assert 0.67 <= together <= 0.88
    assert torch.equal(seen.confidence, one)


def test_hidden_joints_do_not_snap_to_visible_joints(hands):
    uv, hidden = covered(hands, 9)
    one = torch.ones(*uv.shape[:-1], 1, dtype=torch.float64)
    found = simulate_occlusion(
        uv, one, one, hidden, detector=RegressionDetector(), generator=random()
    ).uv
    to_visible = (found[:, :, None] - found[:, None]).norm(dim=-1)
    to_visible = to_visible.masked_fill(hidden[:, None], torch.inf).amin(dim=-1)
    assert (to_visible[hidden] < 0.5).double().mean() < 0.01


def test_joints_do_not_move_if_none_is_hidden(hands):
    uv, hidden = covered(hands, 0)
    cue = torch.randn(*uv.shape[:-1], 1, dtype=torch.float64)
    seen = simulate_occlusion(uv, cue, cue.sigmoid(), hidden, detector=RegressionDetector())
    assert torch.equal(seen.uv, uv)
    assert torch.equal(seen.cue, cue)


@pytest.mark.parametrize(("k", "deviation"), [(0, 0.34), (6, 0.466), (12, 0.844)])
def test_depths_have_bias_scale_and_noise(k, deviation):
    d = torch.linspace(-1, 1, 21, dtype=torch.float64).expand(20_000, 21)
    visible = (torch.arange(21) >= k).expand(20_000, 21)
    truth = Truth(torch.zeros(20_000, 21, 2, dtype=torch.float64), d, d - 5, visible)
    seen = RegressionDetector().observe(NumpyRandom(np.random.default_rng(0)), truth, 256)
    error = seen.found.cue[..., 0] - d
    bias = error.mean(dim=1)
    slope = (error * d).sum(dim=1) / d.square().sum(dim=1)
    rest = error - bias[:, None] - slope[:, None] * d
    assert bias.var() == pytest.approx(0.3**2 + deviation**2 / 21, rel=0.05)
    assert slope.var() == pytest.approx(
        0.15**2 + deviation**2 / d[0].square().sum().item(), rel=0.05
    )
    assert (rest.square().sum() / (20_000 * 19)).sqrt() == pytest.approx(deviation, rel=0.02)
    assert (seen.clean.cue[..., 0] - d).std() < (seen.found.cue[..., 0] - d).std() + 1e-9


def test_occluding_a_clean_cue_adds_the_missing_noise():
    cue = torch.zeros(4000, 21, 1, dtype=torch.float64)
    hidden = (torch.arange(21) < 12).expand(4000, 21)
    uv = torch.rand(4000, 21, 2, dtype=torch.float64)
    law = RegressionDetector()
    seen = simulate_occlusion(uv, cue, cue, hidden, detector=law, generator=random())
    assert seen.cue.std() == pytest.approx((0.844**2 - 0.34**2) ** 0.5, rel=0.02)


def test_moves_grow_with_the_image():
    uv = 50 + 100 * torch.rand(20, 21, 2, dtype=torch.float64, generator=random(1))
    one, hidden = torch.ones(20, 21, 1, dtype=torch.float64), sample_region(uv, generator=random())
    small, large = (
        simulate_occlusion(
            k * uv, one, one, hidden, image_size=256 * k, generator=random(),
            detector=RegressionDetector(),
        ).uv
        for k in (1, 3)
    )  # fmt: skip
    torch.testing.assert_close(large, 3 * small, rtol=1e-6, atol=1e-6)


def test_a_missing_joint_stays_missing_and_moves_no_other():
    uv = 200 * torch.rand(50, 21, 2)
    uv[:, 3] = torch.nan
    hidden = torch.zeros(50, 21, dtype=torch.bool)
    hidden[:, 3:6] = True
    one = torch.ones(50, 21, 1)
    found = simulate_occlusion(uv, one, one, hidden, detector=RegressionDetector()).uv
    assert found[:, 3].isnan().all()
    assert found[:, torch.arange(21) != 3].isfinite().all()


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="RegressionDetector: expected shift to be finite"):
        RegressionDetector(shift=-1.0)
    with pytest.raises(ValueError, match="together of at most 1, got 1.5"):
        RegressionDetector(together=1.5)
