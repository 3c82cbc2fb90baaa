from typing import NamedTuple

import numpy as np
import pytest
import torch

from handgraph.detectors import HeatmapDetector, Truth
from handgraph.detectors.randomness import NumpyRandom


class Positions(NamedTuple):
    uv: np.ndarray
    uv_clean: np.ndarray


def detect(rng, uv, visible, noise, image_size):
    zero = torch.zeros(visible.shape, dtype=torch.float64)
    truth = Truth(torch.from_numpy(uv), zero, zero, torch.from_numpy(visible))
    seen = HeatmapDetector(noise=noise).observe(NumpyRandom(rng), truth, image_size)
    return Positions(seen.found.uv.numpy(), seen.clean.uv.numpy())


def detections(noise=0.0, num_images=4000, image_size=256):
    rng = np.random.default_rng(0)
    uv = rng.uniform(0.2, 0.8, (num_images, 21, 2)) * image_size
    visible = rng.random((num_images, 21)) < 0.6
    return uv, visible, detect(rng, uv, visible, noise, image_size)


def nearest_visible(points, uv, visible):
    distance = np.linalg.norm(points[:, :, None] - uv[:, None], axis=-1)
    return np.where(visible[:, None], distance, np.inf).min(axis=-1)


def test_visible_joints_have_the_noise_only():
    uv, visible, found = detections(noise=1.5)
    assert (found.uv - uv)[visible].std() == pytest.approx(1.5, abs=0.02)
    assert (found.uv - uv)[visible].mean() == pytest.approx(0.0, abs=0.02)


def test_clean_detections_differ_at_hidden_joints_only():
    uv, visible, found = detections(noise=1.5)
    np.testing.assert_array_equal(found.uv[visible], found.uv_clean[visible])
    assert (found.uv_clean - uv)[~visible].std() == pytest.approx(1.5, abs=0.02)
    assert (found.uv != found.uv_clean)[~visible].all()


def test_without_noise_visible_joints_are_exact():
    uv, visible, found = detections()
    np.testing.assert_array_equal(found.uv[visible], uv[visible])
    np.testing.assert_array_equal(found.uv_clean, uv)


def test_shares_of_snapped_and_pulled_joints():
    uv, visible, found = detections()
    snapped = nearest_visible(found.uv, uv, visible) < 1e-9
    assert snapped[~visible].mean() == pytest.approx(0.35, abs=0.01)
    step = found.uv - uv
    way = np.where(visible[:, None, :, None], uv[:, None] - uv[:, :, None], np.nan)
    cross = step[:, :, None, 0] * way[..., 1] - step[:, :, None, 1] * way[..., 0]
    share = (step[:, :, None] * way).sum(-1) / ((way**2).sum(-1) + 1e-12)
    on_line = (np.abs(cross) < 1e-6) & (share > 0.19) & (share < 0.61)
    pulled = on_line.any(axis=-1) & ~snapped
    assert pulled[~visible].mean() == pytest.approx(0.35, abs=0.01)


def test_joints_snap_to_their_neighbours_rather_than_far():
    uv, visible, found = detections()
    snapped = (nearest_visible(found.uv, uv, visible) < 1e-9) & ~visible
    least = nearest_visible(uv, uv, visible)
    went = np.linalg.norm(found.uv - uv, axis=-1)
    assert np.median(went[snapped] / least[snapped]) < 1.1
    assert 0.1 < (went[snapped] > 1.01 * least[snapped]).mean() < 0.5  # not always the nearest


def test_with_no_visible_joint_all_are_put_around_their_places():
    uv = np.full((500, 21, 2), 100.0)
    found = detect(np.random.default_rng(0), uv, np.zeros((500, 21), dtype=bool), 0.0, 256)
    assert (found.uv - uv).std() == pytest.approx(10.0, abs=0.2)


def test_errors_grow_with_the_image():
    small, large = (detections(image_size=size) for size in (64, 256))
    np.testing.assert_allclose(4 * small[2].uv, large[2].uv, rtol=1e-9)


def test_confidence_is_the_probability_of_visible():
    rng = np.random.default_rng(0)
    visible = rng.random(200_000) < 0.5
    noise = torch.from_numpy(rng.standard_normal(visible.shape))
    score = HeatmapDetector().score(noise, torch.from_numpy(visible)).numpy()
    assert score.min() > 0
    assert score.max() < 1
    for low in np.arange(0, 1, 0.2):
        within = (score >= low) & (score < low + 0.2)
        assert visible[within].mean() == pytest.approx(score[within].mean(), abs=0.015)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": -1.0}, "expected noise to be finite and not negative, got -1.0"),
        ({"reach": float("nan")}, "expected reach to be finite"),
        ({"gap": (0.0, -1.0)}, "expected gap to be finite"),
        ({"snapped": 0.7, "pulled": 0.5}, "snapped . pulled of at most 1"),
    ],
)
def test_wrong_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeatmapDetector(**arguments)
