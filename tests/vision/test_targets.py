"""Values of Gaussian targets."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from handgraph.testing import assert_compiles
from handgraph.vision import gaussian_heatmaps


def slow_heatmap(u, v, height, width, stride, sigma):
    """Compute each pixel from the mean image position of the pixels it covers."""
    rows = []
    for y in range(height // stride):
        centre_v = sum(range(stride * y, stride * (y + 1))) / stride
        row = []
        for x in range(width // stride):
            centre_u = sum(range(stride * x, stride * (x + 1))) / stride
            square = ((centre_u - u) ** 2 + (centre_v - v) ** 2) / stride**2
            row.append(math.exp(-square / (2 * sigma**2)))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("size", "stride", "sigma"), [((24, 40), 4, 2.0), ((15, 9), 3, 0.7)])
def test_equals_the_slow_twin(size, stride, sigma):
    uv = 30 * torch.rand(5, 2, dtype=torch.float64) - 3
    maps = gaussian_heatmaps(uv, size, stride=stride, sigma=sigma)
    for (u, v), heatmap in zip(uv.tolist(), maps, strict=True):
        assert_close(heatmap, slow_heatmap(u, v, *size, stride, sigma))


def test_a_joint_on_a_pixel_centre_has_peak_one():
    heatmap = gaussian_heatmaps(torch.tensor([[4 * 7 + 1.5, 4 * 3 + 1.5]]), 64)[0]
    assert heatmap[3, 7] == 1
    assert (heatmap == 1).sum() == 1


def test_the_lowest_peak_of_sigma_two():
    corner = torch.tensor([[4 * 7 + 3.5, 4 * 3 + 3.5]])  # the corner of four heatmap pixels
    assert_close(gaussian_heatmaps(corner, 64).max(), torch.tensor(math.exp(-1 / 16)))


def test_a_square_may_be_named_by_its_side():
    uv = 64 * torch.rand(3, 21, 2)
    assert torch.equal(gaussian_heatmaps(uv, 64), gaussian_heatmaps(uv, (64, 64)))


def test_an_image_mirrored_has_its_heatmaps_mirrored():
    uv = 64 * torch.rand(21, 2)
    mirrored = torch.stack([63 - uv[:, 0], uv[:, 1]], dim=-1)
    assert_close(gaussian_heatmaps(mirrored, 64), gaussian_heatmaps(uv, 64).flip(-1))


def test_a_joint_outside_has_what_reaches_in():
    near, far = gaussian_heatmaps(torch.tensor([[-2.5, 1.5], [-200.0, 1.5]]), 64)
    assert_close(near[0, 0], torch.tensor(math.exp(-1 / 8)))
    assert near.argmax() == 0
    assert far.max() < 1e-30


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 3)])
def test_any_leading_dimensions(lead):
    uv = 32 * torch.rand(*lead, 21, 2)
    maps = gaussian_heatmaps(uv, (32, 64))
    assert maps.shape == (*lead, 21, 8, 16)
    flat = maps.reshape(-1, 21, 8, 16)
    for sample, expected in zip(uv.reshape(-1, 21, 2), flat, strict=True):
        assert_close(gaussian_heatmaps(sample, (32, 64)), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_is_kept(dtype):
    assert gaussian_heatmaps(torch.zeros(2, 2, dtype=dtype), 16).dtype == dtype


@pytest.mark.parametrize("axis", [0, 1])
def test_nan_gives_nan_in_its_own_map_only(axis):
    uv = torch.zeros(2, 2)
    uv[1, axis] = torch.nan
    maps = gaussian_heatmaps(uv, 16)
    assert maps[0].isfinite().all()
    assert maps[1].isnan().all()


def test_gradients_and_compilation():
    uv = 10 * torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gaussian_heatmaps(x, 16, sigma=1.5), uv)
    assert_compiles(lambda x: gaussian_heatmaps(x, 16), uv)


@pytest.mark.parametrize(
    ("uv", "size", "kwargs", "error", "match"),
    [
        (torch.zeros(21, 3), 64, {}, ValueError, r"expected uv of shape \[\*, J, 2\]"),
        (torch.zeros(21, 2, dtype=torch.long), 64, {}, TypeError, "floating point"),
        (torch.zeros(21, 2), 62, {}, ValueError, "multiples of the stride 4, got 62"),
        (torch.zeros(21, 2), (64, 30), {}, ValueError, r"got \(64, 30\)"),
        (torch.zeros(21, 2), 0, {}, ValueError, "image_size"),
        (torch.zeros(21, 2), 64, {"sigma": 0.0}, ValueError, "sigma"),
        (torch.zeros(21, 2), 64, {"stride": 0}, ValueError, "stride"),
    ],
)
def test_wrong_arguments(uv, size, kwargs, error, match):
    with pytest.raises(error, match=match):
        gaussian_heatmaps(uv, size, **kwargs)
